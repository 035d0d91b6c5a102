//! Which requests the admin server answers: none that a page of another site sends.
//!
//! A browser on the same machine reaches loopback addresses, and DNS rebinding lets a page of another site reach
//! them under that site's name. So, on TCP, the host that a request names has to be one of the admin server's,
//! parsed and compared whole; and a request is refused if the browser says that it comes from another site. A
//! request that names no host is not from a browser, but from a health probe. On a Unix socket the file's mode
//! decides, and optionally the peer's user.
//!
//! # Source
//! RFC 9110 section 7.2 (Host), RFC 6454 (Origin), W3C Fetch Metadata (`Sec-Fetch-Site`).

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, HOST, HeaderName, HeaderValue, ORIGIN, REFERER,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body::Body as _;

use super::users::UserMap;
use crate::http::connection::HttpSettings;
use crate::http::request_rules::is_host;
use crate::sockets::address::Address;
use crate::sockets::peer::Peer;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which requests are let through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Host names, in lower case, besides the loopback's.
    pub(crate) hosts: Vec<String>,
    /// Users that may use a Unix socket; root always may. Empty: every user that can open it.
    pub(crate) users: Vec<u32>,
    /// The addresses the admin server is bound to.
    pub(crate) bound: Vec<Address>,
}

/// Why a request is refused.
type Refusal = (StatusCode, &'static str);

// === impl Guard ===

impl Guard {
    /// The first of the hosts that no request could name.
    pub(crate) fn impossible_host(&self) -> Option<&str> {
        let is_name = |host: &str| {
            host.parse::<IpAddr>().is_ok() || (is_host(host) && !host.contains([':', '*']))
        };
        self.hosts.iter().map(String::as_str).find(|host| host.is_empty() || !is_name(host))
    }

    /// The first of the users that the kernel could not tell from others.
    pub(crate) fn unknown_user(&self) -> Option<u32> {
        let mut users = self.users.iter().copied().peekable();
        users.peek()?;
        let map = UserMap::own();
        users.find(|user| !map.knows(*user))
    }

    /// Refuses a request that may come from another site, or is from a user that is not listed.
    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let host = Self::host(request)?;
        match request.extensions().get::<Peer>() {
            Some(Peer::Unix(peer)) => self.check_user(peer.map(|peer| peer.uid))?,
            _ => self.check_host(host.as_ref())?,
        }
        let site = request.headers().get(SEC_FETCH_SITE);
        if site.is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
            return Err((StatusCode::FORBIDDEN, "refused: sent by a page of another site\n"));
        }
        for name in [ORIGIN, REFERER] {
            let mut values = request.headers().get_all(&name).iter();
            if !values.all(|value| self.is_own_origin(value, host.as_ref())) {
                return Err((StatusCode::FORBIDDEN, "refused: sent by a page of another origin\n"));
            }
        }
        Ok(())
    }

    /// The one host that a request names, in its target or its Host header; none if that is empty.
    fn host(request: &Request) -> Result<Option<Authority>, Refusal> {
        let bad = (StatusCode::BAD_REQUEST, "refused: name one host\n");
        let mut hosts = request.headers().get_all(HOST).iter();
        let named = match (hosts.next(), hosts.next()) {
            (None, _) => None,
            (Some(host), None) if host.is_empty() => None,
            (Some(host), None) => Some(Authority::try_from(host.as_bytes()).map_err(|_| bad)?),
            (Some(_), Some(_)) => return Err(bad),
        };
        match (request.uri().authority(), named) {
            (Some(target), Some(named)) if *target != named => Err(bad),
            (Some(target), _) => Ok(Some(target.clone())),
            (None, named) => Ok(named),
        }
    }

    fn check_host(&self, host: Option<&Authority>) -> Result<(), Refusal> {
        // A browser always names a host, and no page can make it leave that out.
        let Some(host) = host else { return Ok(()) };
        // An authority may have more than a host and a port: `user@host` has no use here but to deceive.
        if is_host(host.as_str()) && self.is_ours(host.host()) {
            return Ok(());
        }
        Err((
            StatusCode::FORBIDDEN,
            "refused: this host name is not one of the admin server's (see its setting `hosts`)\n",
        ))
    }

    fn is_ours(&self, host: &str) -> bool {
        // DNS rebinding needs a name: an address is not resolved.
        let is_own = match ip_of(host) {
            Some(ip) => ip.is_loopback() || self.bound.iter().any(|bound| is_bound(bound, ip)),
            None => host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        };
        is_own || self.is_listed(host)
    }

    fn is_listed(&self, host: &str) -> bool {
        match ip_of(host) {
            Some(ip) => self.hosts.iter().any(|host| ip_of(host) == Some(ip)),
            None => self.hosts.contains(&host.trim_end_matches('.').to_ascii_lowercase()),
        }
    }

    /// Tells whether an Origin or Referer is of the host that the request is for, or of a proxy in front: one of
    /// `hosts`, with the default port of https, or the port in the request's Host.
    fn is_own_origin(&self, origin: &HeaderValue, host: Option<&Authority>) -> bool {
        let Ok(origin) = Uri::try_from(origin.as_bytes()) else { return false };
        let (Some(scheme), Some(named)) = (origin.scheme_str(), origin.authority()) else {
            return false;
        };
        if scheme == "http" && Some(named) == host {
            return true;
        }
        // A proxy that speaks TLS may pass on the client's Host, or name this server by its address. A page without
        // TLS does not count: it can be forged on the network, under any name.
        let is_asked = |host: &&Authority| host.host().eq_ignore_ascii_case(named.host());
        let asked = host.filter(is_asked).and_then(Authority::port_u16);
        let port = named.port_u16();
        let is_its_port = matches!(port, None | Some(443)) || port == asked;
        scheme == "https" && is_its_port && is_host(named.as_str()) && self.is_listed(named.host())
    }

    fn check_user(&self, uid: Option<u32>) -> Result<(), Refusal> {
        let may =
            self.users.is_empty() || uid.is_some_and(|uid| uid == 0 || self.users.contains(&uid));
        if may {
            return Ok(());
        }
        Err((StatusCode::FORBIDDEN, "refused: this user is not one of the setting `users`\n"))
    }
}

/// The address that a host is, if it is one, whatever its zone; in `::ffff:1.2.3.4` that is 1.2.3.4.
fn ip_of(host: &str) -> Option<IpAddr> {
    let bare = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inside) => inside.split_once('%').map_or(inside, |(ip, _)| ip),
        None => host,
    };
    bare.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

fn is_bound(address: &Address, ip: IpAddr) -> bool {
    let bound = address.ip().map(|bound| bound.to_canonical());
    bound.is_some_and(|bound| bound.is_unspecified() || bound == ip)
}

/// Lets a request through, once it has come whole, or answers it.
pub(crate) async fn guard(
    State((guard, http_settings)): State<(Arc<Guard>, Arc<HttpSettings>)>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match guard.check(&request) {
        Ok(()) => match read_body(request, http_settings.limits().admin_body_size).await {
            Ok(request) => next.run(request).await,
            // The rest of the body is not read.
            Err(refusal) => ([(CONNECTION, "close")], refusal).into_response(),
        },
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Reads a request's body, which may have no Content-Length: a request has its effect only if all of the body came
/// and was not too large.
async fn read_body(request: Request, limit: usize) -> Result<Request, Refusal> {
    let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "refused: the body is too large\n");
    let (head, mut body) = request.into_parts();
    if usize::try_from(body.size_hint().lower()).is_ok_and(|length| length > limit) {
        return Err(too_large);
    }
    let mut read = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame =
            frame.map_err(|_| (StatusCode::BAD_REQUEST, "refused: the body broke off\n"))?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if read.len() + data.len() > limit {
            return Err(too_large);
        }
        read.extend_from_slice(data);
    }
    Ok(Request::from_parts(head, Body::from(read.freeze())))
}

#[cfg(test)]
mod tests;
