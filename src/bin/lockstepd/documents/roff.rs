//! Pieces of manual pages.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::wrapped;

/// Adds a paragraph under a tag, such as a flag or a setting.
pub(super) fn tagged(page: &mut Roff, tag: impl Into<Vec<Inline>>, text: &str) {
    page.control("TP", []).text(tag).text([roman(text)]);
}

/// Breaks long lines, as formatters want it.
pub(super) fn finished(page: &str) -> String {
    let mut text = String::new();
    for line in page.lines() {
        if line.starts_with(['.', '\'']) || line.len() <= 78 {
            text += &format!("{line}\n");
            continue;
        }
        for piece in wrapped(line, 78) {
            // What begins with a dot would be a request.
            let guard = if piece.starts_with(['.', '\'']) { "\\&" } else { "" };
            text += &format!("{guard}{piece}\n");
        }
    }
    text
}

/// Adds a section of tagged paragraphs.
pub(super) fn list(page: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    page.control("SH", [title]);
    for (tag, text) in entries {
        tagged(page, [bold(*tag)], text);
    }
}

/// Adds a section with pages of the manual.
pub(super) fn see_also(page: &mut Roff, pages: &[(&str, &str)]) {
    page.control("SH", ["SEE ALSO"]);
    let last = pages.len() - 1;
    for (at, (name, section)) in pages.iter().enumerate() {
        let end = if at == last { "" } else { "," };
        page.control("BR", [*name, &format!("({section}){end}")]);
    }
}

/// A flag with its value.
pub(super) fn flag(name: &str, value: Option<&str>) -> Vec<Inline> {
    let mut tag = vec![bold(format!("--{name}"))];
    if let Some(value) = value {
        tag.extend([roman(" "), italic(value)]);
    }
    tag
}
