//! The same answers from `axum::serve`, as its documentation has it. The argument is the address.

use axum::{Router, http::header, routing::get};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).expect("an address is the argument");
    let listener = tokio::net::TcpListener::bind(address).await?;
    let hello = || async {
        ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "Hello, Serve is running...\n")
    };
    axum::serve(listener, Router::new().route("/", get(hello))).await
}
