//! packaging/prometheus and packaging/grafana: the alerts and the dashboard, against the metrics of a real daemon.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    proxy::Place,
    support::{Certificate, Launch, get, has_openssl, has_promtool, promtool},
};

const RULES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/prometheus/lockstepd.rules.yml");
const RULE_TESTS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/prometheus/lockstepd.rules.test.yml");
const DASHBOARD: &str = include_str!("../../packaging/grafana/lockstepd.json");

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["job", "instance"];

/// The samples by their names, each with its labels.
type Samples = HashMap<String, Vec<BTreeMap<String, String>>>;

/// A selector of `PromQL`: a name, and its matchers as label, operator and value.
type Selector = (String, Vec<(String, String, String)>);

/// What a daemon prints that has an application and TLS, and that was upgraded in place.
fn samples() -> Samples {
    let place = Place::new();
    let _application = place.application(&[]);
    let (launch, _directory) = with_tls(place.launch());
    let mut daemon = launch.start();
    let (public, admin) = (daemon.public(), daemon.admin());
    daemon.signal(Signal::USR2);
    daemon.lines_with(2, "\"message\":\"ready\"");
    assert_eq!(get(&public, "/").status, 200);
    let text = get(&admin, "/metrics").body;
    let mut samples = Samples::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').expect("a sample has a value").0;
        for (name, labels) in selectors(series) {
            let labels = labels.into_iter().map(|(label, _, value)| (label, value));
            samples.entry(name).or_default().push(labels.collect());
        }
    }
    samples
}

/// The same with TLS, where that can be had.
fn with_tls(launch: Launch) -> (Launch, Option<tempfile::TempDir>) {
    if !cfg!(feature = "tls") || !has_openssl() {
        return (launch, None);
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let certificate = Certificate::make(directory.path(), "localhost", &["localhost"], 90);
    let address = format!("{}:0", Launch::address());
    let launch = launch.args(["--tls-listen", &address]);
    let files = ["--tls-certificates".as_ref(), certificate.file.as_os_str()];
    let keys = ["--tls-keys".as_ref(), certificate.key.as_os_str()];
    (launch.args(files).args(keys), Some(directory))
}

/// The selectors of metrics of the daemon and of the process, wherever they stand in a text.
fn selectors(text: &str) -> Vec<Selector> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut selectors = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(is_part) {
        let word = &rest[begin..];
        let (name, after) = word.split_at(word.find(|c| !is_part(c)).unwrap_or(word.len()));
        rest = after;
        if !name.starts_with("lockstepd_") && !name.starts_with("process_") {
            continue;
        }
        let labels = after.strip_prefix('{').and_then(|labels| labels.split_once('}'));
        let labels = labels.map_or("", |(labels, _)| labels).split(',').map(str::trim);
        let labels = labels.filter(|label| !label.is_empty()).map(|label| {
            let (name, matcher) = label.split_at(label.find(['=', '!']).expect("it has a matcher"));
            let (operator, value) = matcher.split_once('"').expect("values are quoted");
            let value = value.strip_suffix('"').expect("values are quoted");
            (name.to_owned(), operator.to_owned(), value.to_owned())
        });
        selectors.push((name.to_owned(), labels.collect()));
    }
    selectors
}

/// Asserts that a daemon has what a text selects.
#[track_caller]
fn assert_exist(samples: &Samples, text: &str) {
    for (name, matchers) in selectors(text) {
        if name.starts_with("lockstepd_tls_")
            && !samples.contains_key("lockstepd_tls_handshakes_total")
        {
            // Without TLS there is nothing to compare it with.
            continue;
        }
        let Some(series) = samples.get(&name) else { panic!("no {name} in /metrics: {text}") };
        for (label, operator, value) in matchers {
            let mut values = series.iter().filter_map(|labels| labels.get(&label));
            if !ADDED.contains(&&*label) {
                assert!(values.clone().next().is_some(), "{name} has no {label}: {text}");
            }
            if operator == "=" && !ADDED.contains(&&*label) {
                assert!(values.any(|it| *it == value), "no {name} has {label}={value}: {text}");
            }
        }
    }
}

/// Everything in the dashboard that is asked of Prometheus, as Prometheus hears it.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    let mut expressions = Vec::new();
    collect(&dashboard, &mut expressions);
    expressions
        .into_iter()
        .map(|text| text.replace("$__rate_interval", "5m").replace("$__range", "3h"))
        .collect()
}

fn collect(value: &Value, expressions: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            expressions.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, expressions));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, expressions)),
        _ => {}
    }
}

/// The names of alerts behind `key` in a file.
fn alerts(text: &str, key: &str) -> BTreeSet<String> {
    let names = text.split(key).skip(1);
    let end = |c: char| !c.is_ascii_alphanumeric();
    names.map(|rest| rest.split(end).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_alerts_and_the_dashboard_ask_for_metrics_that_the_daemon_has() {
    let samples = samples();
    let rules = fs::read_to_string(RULES).unwrap();
    assert!(selectors(&rules).len() > 10);
    rules.lines().for_each(|line| assert_exist(&samples, line));
    let expressions = expressions();
    assert!(expressions.len() > 30, "{expressions:?}");
    for expression in expressions {
        assert!(!selectors(&expression).is_empty(), "{expression}");
        assert_exist(&samples, &expression);
    }
    let series = fs::read_to_string(RULE_TESTS).unwrap();
    let series: Vec<_> = series.lines().filter(|line| line.contains("- series: ")).collect();
    for (name, matchers) in selectors(&series.join("\n")) {
        // The values are the test's own.
        let matchers = matchers.iter().map(|(label, ..)| format!("{label}!=\"\""));
        assert_exist(&samples, &format!("{name}{{{}}}", matchers.collect::<Vec<_>>().join(",")));
    }
}

#[test]
fn every_alert_says_what_to_do_and_is_tested() {
    let rules = fs::read_to_string(RULES).unwrap();
    let names = alerts(&rules, "- alert: ");
    for rule in rules.split("- alert: ").skip(1) {
        for key in ["expr:", "severity: ", "summary: ", "description: "] {
            assert!(rule.contains(key), "no {key} in {rule}");
        }
    }
    let tests = fs::read_to_string(RULE_TESTS).unwrap();
    let by_name = alerts(&tests, "alertname: ");
    let tested: BTreeSet<_> = alerts(&tests, "alertname=\"").union(&by_name).cloned().collect();
    assert_eq!(names, tested);
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_succeed() {
    if !has_promtool() {
        return;
    }
    let (is_good, said) = promtool(&["check", "rules", RULES], "");
    let number = alerts(&fs::read_to_string(RULES).unwrap(), "- alert: ").len();
    assert!(is_good && said.contains(&format!("{number} rules found")), "{said}");
    let (is_good, said) = promtool(&["test", "rules", RULE_TESTS], "");
    assert!(is_good, "{said}");
}

#[test]
fn promtool_accepts_what_the_dashboard_asks() {
    if !has_promtool() {
        return;
    }
    let expressions = expressions();
    let rules = expressions.iter().enumerate().map(|(number, expression)| {
        // JSON is YAML.
        json!({ "record": format!("panel:{number}"), "expr": expression })
    });
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules.collect::<Vec<_>>() }] });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dashboard.yml");
    fs::write(&file, rules.to_string()).unwrap();
    let (is_good, said) = promtool(&["check", "rules", file.to_str().unwrap()], "");
    assert!(is_good, "{said}");
}

#[test]
fn the_dashboard_works_with_any_data_source_and_its_panels_have_places() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!((&dashboard["id"], &dashboard["schemaVersion"]), (&Value::Null, &39.into()));
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<_> = variables.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "job", "instance", "server"]);
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        assert!(x + w <= 24 && cells.clone().all(|cell| taken.insert(cell)), "{title}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        for part in targets.iter().chain([panel]) {
            assert_eq!(part["datasource"]["uid"], "${datasource}", "{title}");
        }
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            for filter in ["job=~\"$job\"", "instance=~\"$instance\""] {
                assert!(expression.contains(filter), "{title}: {expression}");
            }
        }
    }
}
