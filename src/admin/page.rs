//! `GET /` for a browser: the status page, one file that fetches nothing but `/events`.
//!
//! The browser runs only its own script and style, which carry a nonce that is another in each answer, and
//! refuses to make markup out of text (`require-trusted-types-for`): log lines contain what clients have sent.
//!
//! # Source
//! W3C Content Security Policy Level 3; Trusted Types.

use std::fmt::Write as _;

use axum::http::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, REFERRER_POLICY, VARY,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};

const PAGE: &str = include_str!("page.html");

/// Where the nonce stands in the page.
const NONCE: &str = "{nonce}";

/// Answers with the page, or 404 to a client that does not ask for HTML.
pub(super) async fn page(headers: HeaderMap) -> Response {
    if !accepts_html(&headers) {
        let metrics = if cfg!(feature = "metrics") { "/metrics, " } else { "" };
        let routes = format!(
            "here is the status page, for browsers (Accept: text/html); for others there are /status, {metrics}/live, \
             /ready, /listener and POST /reload\n"
        );
        return (StatusCode::NOT_FOUND, [(VARY, "Accept")], routes).into_response();
    }
    let Some(nonce) = nonce() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy.try_into().expect("a policy is plain ASCII")),
        // The page's own requests carry a Referer, which the guard checks; other sites get none.
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (VARY, HeaderValue::from_static("Accept")),
    ];
    (headers, PAGE.replace(NONCE, &nonce)).into_response()
}

/// Tells whether the client accepts HTML by name: `*/*` does not count.
fn accepts_html(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|range| range.eq_ignore_ascii_case("text/html"));
        let is_refused = |weight: &str| weight.parse() == Ok(0.0);
        is_html && !parts.any(|part| part.strip_prefix("q=").is_some_and(is_refused))
    })
}

/// 128 random bits, which markup that got into the page cannot guess.
fn nonce() -> Option<String> {
    let mut bytes = [0; 16];
    let filled = retry_on_intr(|| getrandom(&mut bytes, GetRandomFlags::empty()));
    (filled == Ok(bytes.len())).then(|| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_that_names_html_gets_the_page() {
        let accepts = |accept: &'static str| {
            accepts_html(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]))
        };
        for browser in
            ["text/html", "text/html,application/xml;q=0.9,*/*;q=0.8", "x/y, Text/HTML;q=0.1"]
        {
            assert!(accepts(browser), "{browser}");
        }
        for tool in ["*/*", "", "text/plain", "application/json, text/html;q=0", "text/htmlx"] {
            assert!(!accepts(tool), "{tool}");
        }
        assert!(!accepts_html(&HeaderMap::new()));
    }

    #[test]
    fn style_and_script_carry_the_nonce_and_nothing_else_does() {
        for element in ["<style", "<script"] {
            assert_eq!(PAGE.matches(element).count(), 1, "{element}");
            assert!(PAGE.contains(&format!("{element} nonce=\"{NONCE}\">")), "{element}");
        }
        assert_eq!(PAGE.matches(NONCE).count(), 2);
    }

    #[test]
    fn no_two_nonces_are_the_same() {
        let [one, other] = [nonce().unwrap(), nonce().unwrap()];
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
