//! What `/metrics` says can be read by Prometheus.
//!
//! One test needs promtool; without it that is skipped and says so, with `LOCKSTEPD_REQUIRE_PROMTOOL=1` it
//! fails instead.

use std::{
    collections::{HashMap, HashSet},
    env,
    io::Write,
    process::{Command, Stdio},
};

use crate::{
    program::Program,
    support::{Client, ask, exchange, skip},
};

/// How to get promtool.
const PROMTOOL: &str = "Debian: apt-get install --no-install-recommends prometheus";

/// The metrics of a daemon that has seen a little of everything.
fn text() -> String {
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
    ask(&program.admin, "GET", "/metrics").text()
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    if Command::new("promtool").arg("--version").output().is_err() {
        let required = env::var("LOCKSTEPD_REQUIRE_PROMTOOL").unwrap_or_default();
        assert!(
            matches!(required.as_str(), "" | "0"),
            "there is no promtool, and LOCKSTEPD_REQUIRE_PROMTOOL is set: {PROMTOOL}"
        );
        return skip(&format!("no promtool ({PROMTOOL})"));
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was there a moment ago");
    promtool.stdin.take().expect("it was asked for").write_all(text().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
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
