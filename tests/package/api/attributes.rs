//! What attributes say of an item: derived traits, promises, documentation.

use syn::{Attribute, Expr, Lit, Meta};

use super::source::{Names, conditions_of};
use super::text::text;

/// Attributes that are promises; the text of `must_use` is none.
const PROMISES: [&str; 6] = ["default", "deprecated", "doc", "must_use", "non_exhaustive", "repr"];

/// What derives implement, with the attributes of the variant that it is for; bounds of parameters are left to the
/// reader.
pub(super) fn derived<'a>(
    attributes: &[Attribute],
    fields: impl Iterator<Item = (&'a syn::Field, &'a [Attribute])>,
    names: &mut Names<'_>,
) -> Vec<(String, &'a [Attribute])> {
    let mut traits: Vec<(String, &[Attribute])> = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let derived = attribute.parse_nested_meta(|meta| {
            match &*text(&meta.path) {
                "Debug" => traits.push(("std::fmt::Debug".to_owned(), &[])),
                "Hash" => traits.push(("std::hash::Hash".to_owned(), &[])),
                "thiserror::Error" => {
                    traits.push(("std::error::Error".to_owned(), &[]));
                    traits.push(("std::fmt::Display".to_owned(), &[]));
                }
                name => traits.push((name.to_owned(), &[])),
            }
            Ok(())
        });
        derived.expect("a derive is a list of paths");
    }
    for (field, own) in fields {
        if field.attrs.iter().any(|attribute| attribute.path().is_ident("from")) {
            traits.push((format!("From<{}>", names.written(&field.ty)), own));
        }
    }
    traits
}

/// The attributes that are promises, with a space after each.
pub(super) fn promises(attributes: &[Attribute], conditions: &[String]) -> String {
    let mut conditions = [conditions, &conditions_of(attributes)].concat();
    conditions.sort_unstable();
    conditions.dedup();
    let promises = attributes.iter().filter_map(|attribute| {
        let path = attribute.path();
        let is_promise = PROMISES.iter().any(|name| path.is_ident(name));
        match &attribute.meta {
            Meta::NameValue(_) if path.is_ident("doc") => None,
            Meta::NameValue(_) => is_promise.then(|| format!("#[{}]", text(path))),
            _ => is_promise.then(|| text(attribute)),
        }
    });
    let mut line = String::new();
    for one in conditions.into_iter().chain(promises) {
        line.push_str(&one);
        line.push(' ');
    }
    line
}

/// The text of documentation comments.
pub(super) fn docs(attributes: &[Attribute]) -> String {
    let mut docs = String::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        if let Meta::NameValue(value) = &attribute.meta {
            if let Expr::Lit(literal) = &value.value {
                if let Lit::Str(line) = &literal.lit {
                    docs.push_str(&line.value());
                    docs.push('\n');
                }
            }
        }
    }
    docs
}
