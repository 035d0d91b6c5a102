//! A database: the pool and the migration are awaited before anybody is served.
//!
//! `cargo run --example database`, then
//!
//! | command | what it shows |
//! |---|---|
//! | `curl -d tea localhost:8080/orders` | a row more |
//! | `curl localhost:8080/orders` | how many rows there are |
//!
//! The file is `$STATE_DIRECTORY/orders.db`, which `StateDirectory=` in the unit sets, or `orders.db`. Clients
//! that come before the migration has ended wait in the socket's queue; if it fails, `systemctl status` says why.

use std::path::Path;
use std::process::ExitCode;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use lockstepd::{BoxError, Daemon};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

/// What the tables are to look like; each start makes sure of it.
const MIGRATION: &str =
    "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)";

fn main() -> ExitCode {
    Daemon::new("database").run_with(async |daemon| {
        let pool = open().await?;
        let router = Router::new()
            .route("/", get(|| async { "GET or POST /orders\n" }))
            .route("/orders", get(count).post(order))
            .with_state(pool.clone());
        Ok(daemon.server("public", "127.0.0.1:8080", router).task(
            "database",
            |shutdown| async move {
                // The last request has been answered by then.
                shutdown.at_rest().await;
                pool.close().await;
                Ok(())
            },
        ))
    })
}

/// Opens the database, and makes it if it is not there.
async fn open() -> Result<SqlitePool, BoxError> {
    let directory = std::env::var_os("STATE_DIRECTORY").unwrap_or_default();
    let file = Path::new(&directory).join("orders.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let pool = SqlitePool::connect_with(options)
        .await
        .map_err(|error| format!("cannot open {}: {error}", file.display()))?;
    sqlx::query(MIGRATION).execute(&pool).await?;
    Ok(pool)
}

async fn order(State(pool): State<SqlitePool>, item: String) -> Result<&'static str, Failure> {
    sqlx::query("INSERT INTO orders (item) VALUES (?)").bind(item).execute(&pool).await?;
    Ok("ordered\n")
}

async fn count(State(pool): State<SqlitePool>) -> Result<String, Failure> {
    let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&pool).await?;
    Ok(format!("{orders} orders\n"))
}

/// A query that failed: the reason is in the log, and the client hears 500.
struct Failure;

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the database failed");
        Self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
