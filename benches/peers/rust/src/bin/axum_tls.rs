//! The same answers from axum-server with rustls, as its documentation has it. The arguments are the address, the
//! certificate and its key.

use std::{error::Error, net::SocketAddr};

use axum::{Router, http::header, routing::get};
use axum_server::tls_rustls::RustlsConfig;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, address, certificate, key] = &arguments[..] else {
        return Err("an address, a certificate and its key are the arguments".into());
    };
    let address: SocketAddr = address.parse()?;
    let config = RustlsConfig::from_pem_file(certificate, key).await?;
    let hello = || async {
        ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "Hello, Serve is running...\n")
    };
    let router = Router::new().route("/", get(hello));
    Ok(axum_server::bind_rustls(address, config).serve(router.into_make_service()).await?)
}
