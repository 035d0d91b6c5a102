//! Tokens as text, spaced as a reader is used to. What the compiler's own printing would be changes between its
//! versions.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

/// After these there is no space.
const OPENING: [&str; 9] = ["(", "[", "<", "&", "::", "#", "!", "?", "."];

/// Before these there is no space.
const CLOSING: [&str; 9] = [")", "]", ">", ",", ";", ":", "::", ".", "!"];

/// The words after which `(` and `[` begin a type of their own.
const BEFORE_TYPES: [&str; 7] = ["as", "const", "dyn", "for", "impl", "mut", "where"];

/// Writes what is parsed as one line.
pub(super) fn text(parsed: &impl ToTokens) -> String {
    let mut words = Vec::new();
    let mut is_joint = false;
    collect(parsed.to_token_stream(), &mut words, &mut is_joint);
    let mut line = String::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 && is_spaced(&words[index - 1], word) {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

fn collect(tokens: TokenStream, words: &mut Vec<String>, is_joint: &mut bool) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                words.push(open.to_owned());
                *is_joint = false;
                collect(group.stream(), words, is_joint);
                words.push(close.to_owned());
                *is_joint = false;
            }
            TokenTree::Punct(punct) => {
                add(words, *is_joint, &punct.to_string());
                *is_joint = punct.spacing() == Spacing::Joint;
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                // A lifetime is a joint apostrophe and a name.
                let is_lifetime = words.last().is_some_and(|word| word == "'");
                add(words, is_lifetime, &token.to_string());
                *is_joint = false;
            }
        }
    }
}

fn add(words: &mut Vec<String>, is_joint: bool, text: &str) {
    match words.last_mut() {
        Some(last) if is_joint => last.push_str(text),
        _ => words.push(text.to_owned()),
    }
}

fn is_spaced(before: &str, word: &str) -> bool {
    let is_name =
        before.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !before.starts_with('\'');
    let continues = match word {
        "(" | "[" => (is_name && !BEFORE_TYPES.contains(&before)) || before == ">",
        "<" => is_name,
        "" => true,
        _ => CLOSING.contains(&word),
    };
    !continues && !OPENING.contains(&before) && !before.is_empty()
}

#[test]
fn types_are_written_as_usual() {
    for usual in [
        "Box<dyn std::error::Error + Send + Sync>",
        "impl FnOnce(&'a mut [u8], (u8, u8)) -> Option<Option<T>>",
        "Result<(), &'static [u8]>",
        "for<'a> fn(&'a T) -> <T as Iterator>::Item",
        "[u8; 4]",
        "impl TryInto<Listen, Error: ToString> + ?Sized + use<'_>",
    ] {
        assert_eq!(text(&syn::parse_str::<syn::Type>(usual).unwrap()), usual);
    }
}
