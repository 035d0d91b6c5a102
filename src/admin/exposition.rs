//! The two formats of metrics: Prometheus' own text, and `OpenMetrics` for who asks for it.
//!
//! Neither exemplars nor lines of `_created`: nobody here would read them.
//!
//! # Source
//! Prometheus, "Exposition formats", version 0.0.4; `OpenMetrics` 1.0.0; RFC 9110, 12.5.1 (Accept).

use axum::http::header::{ACCEPT, HeaderMap};

/// A format of metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// Prometheus' own.
    Text,
    OpenMetrics,
}

/// The media type that asks for `OpenMetrics`, and the version that is written.
const OPEN_METRICS: (&str, &str) = ("application/openmetrics-text", "1.0.0");

// === impl Format ===

impl Format {
    /// The format that a client asks for: `OpenMetrics` only by its name, and where it does not prefer the other.
    pub(crate) fn asked_for(headers: &HeaderMap) -> Self {
        let mut open = 0.0_f32;
        // By how closely they are named: `*/*`, `text/*`, `text/plain`.
        let mut text = [None::<f32>; 3];
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (1.0, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match &*name.trim_end().to_ascii_lowercase() {
                    "q" => weight = value.trim_start().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim_start().trim_matches('"')),
                    _ => {}
                }
            }
            let (wanted, written) = OPEN_METRICS;
            match &*name {
                name if name == wanted && version.is_none_or(|version| version == written) => {
                    open = open.max(weight);
                }
                "*/*" => text[0] = Some(weight),
                "text/*" => text[1] = Some(weight),
                "text/plain" => text[2] = Some(text[2].unwrap_or(0.0).max(weight)),
                _ => {}
            }
        }
        let text = text.into_iter().rev().flatten().next().unwrap_or(0.0);
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The value of Content-Type.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What the encoder has written, without an end, in this format.
    pub(super) fn of(self, encoded: String) -> String {
        match self {
            Self::Text => text(&encoded),
            Self::OpenMetrics => encoded + "# EOF\n",
        }
    }
}

/// `OpenMetrics` names a family of counters without `_total`; Prometheus' own format does not, and has no units.
fn text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let family = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
        let Some((name, help)) = family else {
            // The unit is in the name.
            if !line.starts_with("# UNIT ") {
                text.extend([line, "\n"]);
            }
            continue;
        };
        let counter = format!("# TYPE {name} counter");
        if lines.next_if(|line| *line == counter).is_some() {
            text.extend(["# HELP ", name, "_total ", help, "\n"]);
            text.extend(["# TYPE ", name, "_total counter\n"]);
        } else {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn asked_for(accept: &'static str) -> Format {
        let accept = HeaderValue::from_static(accept);
        Format::asked_for(&HeaderMap::from_iter([(ACCEPT, accept)]))
    }

    #[test]
    fn who_asks_for_openmetrics_by_its_name_gets_it() {
        for accept in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=1.0.0",
            "application/openmetrics-text; version=\"1.0.0\"; q=0.5, */*; q=0.1",
            // Prometheus 2.42, and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
             text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        ] {
            assert_eq!(asked_for(accept), Format::OpenMetrics, "{accept}");
        }
    }

    #[test]
    fn everybody_else_gets_text() {
        assert_eq!(Format::asked_for(&HeaderMap::new()), Format::Text);
        for accept in [
            "",
            "*/*",
            "text/plain",
            "application/*",
            "application/json",
            "text/plain, application/openmetrics-text; q=0.9",
            "application/openmetrics-text; q=0.5, */*",
            "application/openmetrics-text; q=0.5, text/*",
            "application/openmetrics-text; q=0",
            "application/openmetrics-text; q=nonsense",
            "application/openmetrics-text; version=2.0.0",
            "application/openmetrics-texts",
        ] {
            assert_eq!(asked_for(accept), Format::Text, "{accept}");
        }
    }
}
