//! The documents: README leads to each page, and links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// How long the README may be: it is where readers begin, and everything else stands in a page of its own.
const README_LINES: usize = 150;

fn pages() -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(PACKAGE).join("docs")).expect("there is a folder docs");
    entries.map(|entry| entry.expect("the folder can be read").path()).collect()
}

/// Everything that is written for people, and is not the library's documentation.
fn documents() -> Vec<PathBuf> {
    let others = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "tests/README.md"];
    let others = others.iter().map(|document| Path::new(PACKAGE).join(document));
    others.chain(pages()).collect()
}

#[track_caller]
fn read(document: &Path) -> String {
    fs::read_to_string(document).unwrap_or_else(|error| panic!("{}: {error}", document.display()))
}

/// The lines outside of blocks of code.
fn prose(markdown: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    markdown.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// A text without what stands between backticks.
fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect()
}

/// Where the links of a text lead, those to other sites apart.
fn links(markdown: &str) -> Vec<String> {
    let text: Vec<_> = prose(markdown).collect();
    let text = without_code(&text.join("\n"));
    let inline = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let defined =
        text.lines().filter_map(|line| Some(line.strip_prefix('[')?.split_once("]: ")?.1));
    let all = inline.chain(defined).map(str::to_owned);
    all.filter(|link| !link.contains("://")).collect()
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = prose(markdown).filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

/// What is wrong with a link in a document; its file has to be in the package.
fn fault(document: &Path, link: &str) -> Option<String> {
    let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
    let folder = document.parent().expect("a document is in a folder");
    let target = if file.is_empty() { document.to_owned() } else { folder.join(file) };
    if !target.exists() {
        return Some("no such file".to_owned());
    }
    if wanted.is_empty() {
        return None;
    }
    let there = anchors(&read(&target));
    (!there.contains(wanted)).then(|| format!("no such heading, but {there:?}"))
}

#[test]
fn the_readme_is_short() {
    let lines = read(&Path::new(PACKAGE).join("README.md")).lines().count();
    assert!(lines <= README_LINES, "{lines} lines: let a page in docs/ have what is not for all");
}

#[test]
fn the_readme_leads_to_each_page() {
    let linked: BTreeSet<_> = links(&read(&Path::new(PACKAGE).join("README.md")))
        .iter()
        .map(|link| link.split('#').next().unwrap_or_default().to_owned())
        .collect();
    for page in pages() {
        let name = page.file_name().and_then(|name| name.to_str()).expect("its name is text");
        assert!(linked.contains(&format!("docs/{name}")), "no link to docs/{name}: {linked:#?}");
    }
}

#[test]
fn each_link_leads_to_a_file_and_a_heading_that_exist() {
    let faults = documents().into_iter().flat_map(|document| {
        let links = links(&read(&document)).into_iter();
        let faults: Vec<_> = links
            .filter_map(|link| Some(format!("{link}: {}", fault(&document, &link)?)))
            .map(|fault| format!("{}: {fault}", document.display()))
            .collect();
        faults
    });
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn links_and_headings_are_found_as_a_reader_sees_them() {
    let text = "# One `two`, three\n[a](b.md#c) `[code](x)` [far](https://x/)\n\
                ```sh\n# no heading, [no](link)\n```\n[d\ne](#f)\n[g]: h.md\n";
    assert_eq!(links(text), ["b.md#c", "#f", "h.md"]);
    assert_eq!(anchors(text), BTreeSet::from(["one-two-three".to_owned()]));
    assert_eq!(anchor("Events by MESSAGE_ID"), "events-by-message_id");
    let document = Path::new(PACKAGE).join("README.md");
    assert!(fault(&document, "nowhere.md").is_some());
    assert!(fault(&document, "#nothing-like-it").is_some());
    assert_eq!(fault(&document, "tests/README.md#tests"), None);
}
