//! What `cargo bench --bench compare -- bulk` measures of lockstepd: files, as the example `static_files` serves them,
//! and at `/upload` a handler that reads a request's body and keeps nothing of it. Its arguments are an address and a
//! directory.

use std::env;
use std::process::ExitCode;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::post;
use http_body_util::BodyExt;
use lockstepd::Daemon;
use tower_http::services::ServeDir;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(directory)) = (arguments.next(), arguments.next()) else {
        eprintln!("which address, and which directory?");
        return ExitCode::from(2);
    };
    let files = ServeDir::new(directory);
    let router = Router::new().route("/upload", post(read)).fallback_service(files);
    Daemon::new("bulk").server("public", address, router).run()
}

async fn read(mut body: Body) -> Result<&'static str, StatusCode> {
    while let Some(frame) = body.frame().await {
        frame.map_err(|_| StatusCode::BAD_REQUEST)?;
    }
    Ok("Hello, Serve is running...\n")
}
