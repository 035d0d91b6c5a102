//! The public API is that of `tests/package/api.txt`, so that a change of it is seen, and meant.
//!
//! It is read from the source, not from what rustdoc makes of it: that would need one certain compiler. Each line
//! has a name, and everything about it that a change would break for users: types and bounds, but not the names of
//! arguments. What the source does not say in words is missing: auto traits (see `auto_traits`).

mod attributes;
mod auto_traits;
mod items;
mod shown;
mod source;
mod text;
mod versions;

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

use self::items::{Entry, Kind, api};
use self::source::Source;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs");
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/package/api.txt");
const RENEW: &str = "LOCKSTEPD_WRITE_API=1 cargo test --test package public_api";

/// The API of the library.
fn of_the_library() -> Vec<Entry> {
    api(&Source::read(Path::new(ROOT), &|path| fs::read_to_string(path).ok()))
}

/// The lines of the snapshot, with an empty one before each item of the crate's root.
fn lines(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut owner = None;
    for entry in entries {
        if owner.replace(&entry.owner).is_some_and(|before| *before != entry.owner) {
            text.push('\n');
        }
        text.push_str(&entry.line);
        text.push('\n');
    }
    text
}

/// What is no longer there with `-` before it, what is new with `+`.
fn difference(before: &str, now: &str) -> String {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.lines().collect(), now.lines().collect());
    let gone = before.lines().filter(|line| !new.contains(line)).map(|line| format!("- {line}\n"));
    let come = now.lines().filter(|line| !old.contains(line)).map(|line| format!("+ {line}\n"));
    gone.chain(come).collect()
}

#[test]
fn the_public_api_is_that_of_the_snapshot() {
    let now = lines(&of_the_library());
    if env::var_os("LOCKSTEPD_WRITE_API").is_some() {
        fs::write(SNAPSHOT, &now).expect("the snapshot can be written");
    }
    let snapshot = fs::read_to_string(SNAPSHOT).unwrap_or_default();
    assert!(
        snapshot == now,
        "the public API is not that of tests/package/api.txt:\n\n{}\n\
         If that is meant, tell it in CHANGELOG.md, and renew the file with\n    {RENEW}\n",
        difference(&snapshot, &now),
    );
}

#[test]
fn every_enum_and_every_struct_of_public_fields_may_grow() {
    let api = of_the_library();
    for line in api.iter().filter(|entry| entry.kind == Kind::Type).map(|entry| &entry.line) {
        let is_closed = line.contains("pub enum ")
            || (line.contains("pub struct ") && !line.ends_with("{ .. }"));
        assert!(!is_closed || line.contains("#[non_exhaustive]"), "a user can exhaust {line}");
    }
    // `Error::System` is closed, as a program may make one for `Daemon::run_with`.
    let names =
        |line: &str| line.contains("Error::") && line.contains(" { ") && !line.contains(" Error::");
    for line in api.iter().map(|entry| &entry.line).filter(|line| names(line)) {
        let is_variant = line.contains("variant ");
        assert!(!is_variant || line.contains("#[non_exhaustive]"), "a user can exhaust {line}");
    }
}

/// The snapshot of a crate with one module, `shop`.
fn of_a_crate(root: &str, shop: &str) -> String {
    let read = |path: &Path| match path.to_str() {
        Some("src/lib.rs") => Some(root.to_owned()),
        Some("src/shop.rs") => Some(shop.to_owned()),
        _ => None,
    };
    lines(&api(&Source::read(Path::new("src/lib.rs"), &read)))
}

/// The root of a crate whose snapshot is tested, and its module.
const ROOT_OF_SHOP: &str = "mod shop;\npub use crate::shop::{Fault, Shop, Visit};";
const SHOP: &str = "
    use http::Request;
    use std::fmt;

    #[derive(Clone)]
    pub struct Shop { pub open: bool, secret: Secret }

    #[derive(Debug, thiserror::Error)]
    #[non_exhaustive]
    pub enum Fault { Closed, Late { by: u32 }, System(#[from] std::io::Error) }

    struct Secret;

    #[derive(Clone)]
    pub struct Visit<'a>(pub &'a str);
    impl Visit<'_> {
        pub fn to(&self) -> &str { self.0 }
    }

    impl Shop {
        pub const NAME: &str = \"shop\";
        pub fn new<S>(name: impl Into<String>, serve: S) -> Self where S: Fn(Request<Fault>) {}
        #[must_use = \"words\"]
        pub fn open(mut self, open: bool) -> Self { self }
        #[cfg(feature = \"late\")]
        pub async fn close(&self, late: &str) -> Result<(), Fault> { Ok(()) }
        fn secret(&self) {}
        pub(crate) fn inner(&self) {}
    }

    impl FromStr for Shop { type Err = Fault; }
    impl From<Shop> for String {}
    impl fmt::Debug for Shop {}
    impl Own for Shop {}
    trait Own {}
";

#[test]
fn a_line_of_the_public_api_says_all_that_users_rely_on() {
    let expected = r#"
#[non_exhaustive] pub enum Fault
variant Fault::Closed
variant Fault::Late { by: u32 }
variant Fault::System(std::io::Error)
impl From<std::io::Error> for Fault
impl std::error::Error for Fault
impl std::fmt::Debug for Fault
impl std::fmt::Display for Fault

pub struct Shop { .. }
field Shop::open: bool
pub const Shop::NAME: &str = "shop"
pub fn Shop::new<S>(impl Into<String>, S) -> Self where S: Fn(http::Request<Fault>)
#[cfg(feature = "late")] pub async fn Shop::close(&self, &str) -> Result<(), Fault>
#[must_use] pub fn Shop::open(self, bool) -> Self
impl Clone for Shop
impl From<Shop> for String
impl FromStr for Shop { type Err = Fault; }
impl std::fmt::Debug for Shop

pub struct Visit<'a>
field Visit::0: &'a str
pub fn Visit<'_>::to(&self) -> &str
impl<'a> Clone for Visit<'a>
"#;
    assert_eq!(of_a_crate(ROOT_OF_SHOP, SHOP), expected.trim_start());
}

#[test]
fn what_breaks_users_changes_the_public_api() {
    let before = of_a_crate(ROOT_OF_SHOP, SHOP);
    for (old, new) in [
        ("open: bool)", "open: u8)"),
        ("Into<String>", "Into<String> + Send"),
        ("Fn(Request<Fault>)", "FnMut(Request<Fault>)"),
        ("use http::Request", "use hyper::Request"),
        ("Closed,", "Closed, Far,"),
        ("by: u32", "by: u64"),
        ("#[non_exhaustive]", ""),
        ("#[from] ", ""),
        ("pub open: bool, ", ""),
        ("pub open: bool", "pub open: Option<bool>"),
        ("\"shop\"", "\"store\""),
        ("pub fn open", "fn open"),
        ("async ", ""),
        ("&self, late", "&mut self, late"),
        ("#[derive(Clone)]", ""),
        ("type Err = Fault", "type Err = String"),
        ("impl From<Shop> for String {}", ""),
        ("(&self) -> &str { self.0 }", "(&self) -> &'static str { self.0 }"),
        ("feature = \"late\"", "feature = \"log\""),
    ] {
        assert!(SHOP.contains(old), "{old}");
        let now = of_a_crate(ROOT_OF_SHOP, &SHOP.replace(old, new));
        assert_ne!(difference(&before, &now), "", "{old} has become {new}");
    }
    let without = of_a_crate("mod shop;\npub use crate::shop::Shop;", SHOP);
    assert!(difference(&before, &without).contains("- #[non_exhaustive] pub enum Fault\n"));
}

#[test]
fn what_users_cannot_see_does_not_change_the_public_api() {
    let before = of_a_crate(ROOT_OF_SHOP, SHOP);
    for (old, new) in [
        ("late: &str", "when: &str"),
        ("mut self", "self"),
        ("\"words\"", "\"other words\""),
        ("fn secret(&self)", "fn secret(self, by: u8)"),
        ("secret: Secret", "secret: u8"),
        ("impl fmt::Debug", "impl std::fmt::Debug"),
        ("#[derive(Clone)]", "/// A shop.\n#[derive(Clone)]"),
    ] {
        assert!(SHOP.contains(old), "{old}");
        let now = of_a_crate(ROOT_OF_SHOP, &SHOP.replace(old, new));
        assert_eq!(difference(&before, &now), "", "{old} has become {new}");
    }
}
