//! What `/metrics` says can be read by Prometheus, in both formats.
//!
//! Two tests need promtool; without it they are skipped and say so, with `LOCKSTEPD_REQUIRE_PROMTOOL=1` they
//! fail instead.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use crate::{
    program::Program,
    support::{Client, Response, ask, exchange, has_promtool, promtool},
};

/// What Prometheus 2.42 accepts.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,\
    application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// A daemon that has seen a little of everything.
fn program() -> Program {
    let program = Program::with_limits("60s");
    let mut client = Client::connect(&program.public);
    for path in ["/", "/panic", "/length"] {
        client.request("GET", path);
    }
    for method in ["HEAD", "BREW", "DELETE"] {
        client.request(method, "/");
    }
    exchange(&program.public, b"nonsense\r\n\r\n", false);
    ask(&program.admin, "GET", "/nothing");
    program
}

/// Its metrics.
fn text() -> String {
    ask(&program().admin, "GET", "/metrics").text()
}

/// The metrics for a client that accepts this.
fn accepting(program: &Program, accept: &str) -> Response {
    let mut client = Client::connect(&program.admin);
    client.send(&format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"));
    client.response("GET")
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    if !has_promtool() {
        return;
    }
    assert_eq!(promtool(&["check", "metrics"], &text()), (true, String::new()));
}

#[test]
fn prometheus_gets_openmetrics_and_can_read_it() {
    let answer = accepting(&program(), PROMETHEUS);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(content_type));
    assert_eq!(answer.header("vary"), Some("Accept"));
    let text = answer.body;
    for line in [
        "# TYPE lockstepd_requests counter",
        "# TYPE lockstepd_request_duration_seconds histogram",
        "# UNIT lockstepd_request_duration_seconds seconds",
        "lockstepd_requests_total{server=\"public\",method=\"HEAD\",status=\"200\"} 1",
        "lockstepd_reloads_total{result=\"failed\"} 0",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    assert!(!text.contains("_created"), "{text}");
    if !has_promtool() {
        return;
    }
    // What it reads from a file has to have times.
    let timed: String = text
        .lines()
        .map(|line| if line.starts_with('#') { format!("{line}\n") } else { format!("{line} 1\n") })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let [file, blocks] = ["metrics", "blocks"].map(|name| directory.path().join(name));
    fs::write(&file, timed).unwrap();
    let [file, blocks] = [&file, &blocks].map(|path| path.to_str().expect("it is text"));
    let (is_read, said) =
        promtool(&["tsdb", "create-blocks-from", "openmetrics", file, blocks], "");
    assert!(is_read, "{said}");
}

#[test]
fn who_does_not_ask_for_openmetrics_gets_prometheus_own_text() {
    let program = program();
    for accept in ["*/*", "text/plain;version=0.0.4", "application/openmetrics-text;version=2.0.0"]
    {
        let answer = accepting(&program, accept);
        let content_type = Some("text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(answer.header("content-type"), content_type, "{accept}");
        assert!(answer.body.contains("# TYPE lockstepd_requests_total counter\n"), "{accept}");
        assert!(!answer.body.contains("# EOF") && !answer.body.contains("# UNIT"), "{accept}");
    }
}

#[test]
fn every_line_is_of_the_format() {
    let text = text();
    assert!(text.ends_with('\n') && !text.contains("\n\n") && text.is_ascii(), "{text}");
    let mut types = HashMap::new();
    let mut helps = HashSet::new();
    let mut samples = HashSet::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(helps.insert(name) && !help.trim().is_empty(), "{line}");
            name.clone_into(&mut family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(name == family && types.insert(name, kind).is_none(), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        } else {
            assert!(!line.starts_with('#'), "neither HELP nor TYPE: {line}");
            let (name, labels) = sample(line);
            assert!(samples.insert(format!("{name}{labels:?}")), "twice: {line}");
            let base = match types[family.as_str()] {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| name.strip_suffix(suffix))
                    .unwrap_or_else(|| panic!("{line}")),
                _ => name,
            };
            assert_eq!(base, family, "{line}");
        }
    }
    assert_eq!(types.len(), helps.len());
    assert!(types.len() > 15, "{text}");
}

/// The bounds that Prometheus' clients have by default: a rule may count on any of them.
const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[test]
fn buckets_are_cumulative_and_end_with_the_count() {
    let text = text();
    let mut buckets: HashMap<String, Vec<(f64, f64)>> = HashMap::new();
    let mut counts = HashMap::new();
    for line in text.lines().filter(|line| line.starts_with("lockstepd_request_duration")) {
        let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        let (name, labels) = sample(line);
        let label = |wanted: &str| {
            labels.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_string())
        };
        let server = label("server").unwrap();
        if name.ends_with("_bucket") {
            let bound = label("le").unwrap();
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            buckets.entry(server).or_default().push((bound, value));
        } else if name.ends_with("_count") {
            counts.insert(server, value);
        }
    }
    assert_eq!(buckets.len(), 2, "{text}");
    for (server, buckets) in buckets {
        for bound in DEFAULT_BOUNDS {
            assert!(
                buckets.iter().any(|bucket| bucket.0.total_cmp(&bound).is_eq()),
                "{bound} is not in {buckets:?}"
            );
        }
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, counts[&server])), "{text}");
    }
}

#[test]
fn what_clients_send_makes_no_new_labels() {
    let program = Program::with_limits("60s");
    let mut client = Client::connect(&program.public);
    let mut count = || {
        for number in 0..50 {
            client.request(&format!("BREW{number}"), &format!("/{number}"));
        }
        ask(&program.admin, "GET", "/metrics").text().lines().count()
    };
    // The admin's own requests for metrics are a line after the first.
    let first = count();
    let (second, third) = (count(), count());
    assert!(second - first <= 1 && third == second, "{first}, {second}, {third} lines");
}

/// A sample's name and labels.
#[track_caller]
fn sample(line: &str) -> (&str, Vec<(&str, &str)>) {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(value.parse::<f64>().is_ok(), "{line}");
    let Some((name, labels)) = series.split_once('{') else {
        assert!(is_name(series), "{line}");
        return (series, Vec::new());
    };
    let labels = labels.strip_suffix("\"}").unwrap_or_else(|| panic!("{line}"));
    let labels = labels.split("\",").map(|label| {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        assert!(is_name(name) && !value.contains(['"', '\\', '\n']), "{line}");
        (name, value)
    });
    assert!(is_name(name), "{line}");
    (name, labels.collect())
}
