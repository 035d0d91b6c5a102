//! The servers' TLS, and the server that sends clients there who come in clear text.

use std::convert::Infallible;
use std::future::{Ready, ready};

use http::header::{HOST, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::service::Service;
use lockstepd::{Body, Daemon, Listen, Server, Tls};

use crate::config::{ClientCertificates, Config, TlsSettings};

/// The name of the server that redirects.
const REDIRECT: &str = "redirect";

/// Answers every request with the same address over TLS.
struct Redirect {
    /// The port that clients reach TLS by.
    port: u16,
}

/// Adds TLS to the public server.
pub(crate) fn secured(server: Server, config: &Config) -> Server {
    if !config.tls.is_on() {
        return server;
    }
    let tls = certificates(&config.tls);
    let tls = match &config.tls.client_authorities {
        Some(file) => match config.tls.client_certificates.unwrap_or_default() {
            ClientCertificates::Require => tls.require_client_certificates(file),
            ClientCertificates::Accept => tls.accept_client_certificates(file),
        },
        None => tls,
    };
    server.tls(config.tls_listen.clone(), tls)
}

/// Adds TLS to the admin server, and the server that redirects.
pub(crate) fn others(daemon: Daemon, config: &Config) -> Daemon {
    let settings = &config.tls;
    let daemon = match (&settings.admin, &settings.admin_authorities) {
        (Some(addresses), Some(file)) => {
            let tls = certificates(settings).require_client_certificates(file);
            daemon.admin_tls(Listen::on(addresses.clone()), tls)
        }
        _ => daemon,
    };
    match &settings.redirect {
        Some(addresses) => {
            let redirect = Redirect { port: config.tls_port };
            daemon.hyper_server(REDIRECT, Listen::on(addresses.clone()), redirect)
        }
        None => daemon,
    }
}

fn certificates(settings: &TlsSettings) -> Tls {
    let files = settings.certificates.iter().flatten().zip(settings.keys.iter().flatten());
    let tls = files.fold(Tls::new(), |tls, (certificate, key)| tls.certificate(certificate, key));
    match &settings.alpn {
        Some(protocols) => tls.protocols(protocols.iter().cloned()),
        None => tls,
    }
}

// === impl Redirect ===

impl Service<Request<Body>> for Redirect {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn call(&self, request: Request<Body>) -> Self::Future {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        // The host has been checked: what follows the last colon, behind brackets, is a port.
        let name = host.map(|host| match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        });
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let location = name.filter(|name| !name.is_empty()).and_then(|name| {
            let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
            HeaderValue::try_from(format!("https://{name}{port}{path}")).ok()
        });
        let mut response = Response::new(String::new());
        if let Some(location) = location {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, location);
        } else {
            // A client of HTTP/1.0 may not say what it asks for.
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(port: u16, host: &str, target: &str) -> String {
        let request = Request::get(target).header(HOST, host).body(Body::from("")).unwrap();
        let response = Redirect { port }.call(request).into_inner().unwrap();
        assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
        response.headers()[LOCATION].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_client_is_sent_to_the_same_host_and_path_over_tls() {
        assert_eq!(location(443, "a.example", "/b?c=d"), "https://a.example/b?c=d");
        assert_eq!(location(443, "a.example:80", "/"), "https://a.example/");
        assert_eq!(location(9443, "a.example:9090", "/"), "https://a.example:9443/");
        assert_eq!(location(9443, "[::1]:9090", "/x"), "https://[::1]:9443/x");
        assert_eq!(location(443, "[::1]", "/x"), "https://[::1]/x");
    }
}
