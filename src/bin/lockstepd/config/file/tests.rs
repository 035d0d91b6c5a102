//! What is said of files, whatever is in them.

use proptest::prelude::*;

use super::*;
use crate::config::setting::{Default, Setting};

/// Reads a text; answers its mistakes.
fn mistakes(text: &str) -> Vec<String> {
    let mut mistakes = Mistakes::default();
    parse(Path::new("x.toml"), text, &mut Settings::default(), &mut mistakes);
    let told = mistakes.none().err().map(|error| error.to_string());
    told.iter().flat_map(|told| told.lines()).map(str::to_owned).collect()
}

fn position(mistake: &str) -> Option<(usize, usize)> {
    let mut parts = mistake.strip_prefix("x.toml:")?.splitn(3, ':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A setting with a value that it could have.
fn setting() -> impl Strategy<Value = (&'static Setting, String)> {
    let settings = Settings::table().map(|setting| {
        let (Default::To(value) | Default::None(_, value)) = setting.default;
        (setting, setting.in_file(value))
    });
    prop::sample::select(settings.collect::<Vec<_>>())
}

fn in_section(setting: &Setting, line: &str) -> String {
    match setting.section() {
        "" => format!("\n{line}\n"),
        section => format!("[{section}]\n{line}\n"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_file_holds_each_mistake_names_its_place_from_the_top(
        text in "(\\PC|\\n|\\[log\\]|linger|level|users|=|\"|\\[|\\{|1|'){0,40}",
    ) {
        let lines: Vec<_> = text.split('\n').collect();
        let mut last = (0, 0);
        for mistake in mistakes(&text) {
            let (line, column) = position(&mistake).unwrap_or_else(|| panic!("{mistake:?}"));
            prop_assert!((line, column) > last && line <= lines.len(), "{:?}", mistake);
            let columns = lines[line - 1].chars().count() + 1;
            prop_assert!((1..=columns).contains(&column), "{:?}", mistake);
            last = (line, column);
        }
    }

    #[test]
    fn every_setting_is_read_in_its_section((setting, value) in setting()) {
        let text = in_section(setting, &format!("{} = {value}", setting.name()));
        prop_assert_eq!(mistakes(&text), Vec::<String>::new());
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_with_its_place_and_key(
        (setting, _) in setting(),
        value in "1979-05-27|\\{\\}|1\\.5",
    ) {
        let text = in_section(setting, &format!("{} = {value}", setting.name()));
        let column = setting.name().len() + 4;
        let begin = format!("x.toml:2:{column}: {}: expected ", setting.key);
        let mistakes = mistakes(&text);
        prop_assert!(mistakes.len() == 1 && mistakes[0].starts_with(&begin), "{:?}", mistakes);
    }

    #[test]
    fn a_misspelt_name_is_told_with_the_one_that_was_meant(
        (setting, value) in setting(),
        at in 1_usize..30,
    ) {
        // Without one of its letters no name is another setting's.
        let mut name = setting.name().to_owned();
        prop_assume!(name.len() > 4);
        name.remove(at % (name.len() - 1) + 1);
        let text = in_section(setting, &format!("{name} = {value}"));
        let meant = format!("(did you mean {}?)", setting.key);
        let mistakes = mistakes(&text);
        prop_assert!(mistakes.len() == 1 && mistakes[0].ends_with(&meant), "{:?}", mistakes);
        prop_assert!(mistakes[0].starts_with("x.toml:2:1: "), "{:?}", mistakes);
    }

    #[test]
    fn every_mistake_is_told(
        lines in prop::collection::vec(prop::sample::select(&LINES[..]), 0..8),
    ) {
        let numbered = lines.iter().enumerate();
        let text = numbered.map(|(at, (line, _))| line.replace("KEY", &format!("key{at}")) + "\n");
        let expected = lines.iter().filter(|(_, is_mistake)| *is_mistake).count();
        prop_assert_eq!(mistakes(&text.collect::<String>()).len(), expected);
    }
}

/// Lines, and whether there is a mistake in them.
const LINES: [(&str, bool); 5] = [
    ("KEY = 1", true),
    ("KEY = \"x\" y", true),
    ("KEY = 020", true),
    ("# a comment", false),
    ("", false),
];

#[test]
fn a_setting_in_the_wrong_section_is_told_where_it_belongs() {
    let told = mistakes("level = \"info\"\n[log]\nlinger = \"1s\"\n[limits]\n");
    let expected = [
        "x.toml:1:1: unknown setting level (did you mean log.level?)",
        "x.toml:3:1: unknown setting log.linger (did you mean linger?)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_section_that_is_not_known_or_is_a_setting_is_told() {
    let told = mistakes("log = 1\n[limts]\nx = 1\n[web]\n[linger]\n");
    let expected = [
        "x.toml:1:1: log is a section (write [log], and its settings below it)",
        "x.toml:2:2: unknown section limts (did you mean [limits]?)",
        "x.toml:4:2: unknown section web (see lockstepd.toml(5))",
        "x.toml:5:1: linger: expected a text, found a section (write a time such as \"20s\" or \"1m 30s\")",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_section_that_is_there_twice_is_told_so() {
    let told = mistakes("[tls]\n[admin]\n[tls]\nport = 1\n");
    let expected =
        "x.toml:3:2: duplicate key ([tls] begins further up, and has all of its keys there)";
    assert_eq!(told, [expected]);
    let told = mistakes("[log]\n[tls]\nport = 1\nport = 2\n");
    assert!(told[0].ends_with("(in [tls])"), "{told:?}");
}

#[test]
fn a_dot_in_quotation_marks_parts_no_section_from_its_setting() {
    let told = mistakes("\"log.level\" = \"debug\"\n\"a\\nb\" = 1\n");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("x.toml:1:1: unknown setting \"log.level\""), "{told:?}");
    assert!(told[1].starts_with("x.toml:2:1: unknown setting \"a\\nb\""), "{told:?}");
}

#[test]
fn names_with_dots_and_inline_tables_are_the_same_as_sections() {
    assert_eq!(mistakes("log.level = \"debug\"\nlimits = { max_headers = 3 }\n"), [""; 0]);
}

#[test]
fn every_wrong_item_of_a_list_and_every_wrong_value_of_a_line_is_told_at_its_place() {
    let told = mistakes("[admin]\nusers = [\n  1, \"x\",\n  2,\n  true,\n]\n");
    let expected = [
        "x.toml:3:6: admin.users: expected a number, found a text (write a whole number)",
        "x.toml:5:3: admin.users: expected a number, found true or false (write a whole number)",
    ];
    assert_eq!(told, expected);
    let told = mistakes("limits = { max_headers = \"x\", max_streams = 1.5 }\n");
    assert_eq!(told.len(), 2, "{told:?}");
}
