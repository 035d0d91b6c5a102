//! The name that was meant.

/// How alike two names have to be; "port" and "listen" are not.
const ALIKE: f64 = 0.8;

/// The name most like `name`, if one is like it.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let alike = names.map(|other| (strsim::jaro_winkler(name, other), other));
    let nearest = alike.max_by(|(one, _), (other, _)| one.total_cmp(other));
    nearest.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, name)| name)
}
