//! The lines of the snapshot: what a user can name, and all of it that a change would break for him.

use syn::visit::{self, Visit};
use syn::visit_mut::VisitMut;
use syn::{Attribute, Fields, FnArg, Generics, ImplItem, Item, ReceiverKind, Signature, TraitItem};

use super::attributes::{derived, docs, promises};
use super::source::{Export, Names, Source, conditions_of, is_public};
use super::text::text;

/// Something that a user can name.
pub(super) struct Entry {
    /// The item of the crate's root that it belongs to.
    pub(super) owner: String,
    pub(super) kind: Kind,
    /// All that is promised of it.
    pub(super) line: String,
    /// Its documentation.
    pub(super) docs: String,
}

/// In the order of the snapshot.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    Type,
    Trait,
    /// A variant or a field.
    Part,
    Constant(String),
    /// A function without `self`.
    Function(String),
    Method(String),
    Implementation,
    /// Another crate.
    Crate,
}

/// The public API.
pub(super) fn api(source: &Source) -> Vec<Entry> {
    let exports = source.exports();
    let exported = exports
        .iter()
        .map(|export| {
            let own = match export.item {
                Item::Use(_) => vec![export.name.clone()],
                item => [&["crate".to_owned()], export.module, &[own_name(item)]].concat(),
            };
            (own, export.name.clone())
        })
        .collect();
    let mut entries = Vec::new();
    for export in &exports {
        let names =
            Names { source, module: export.module, exported: &exported, parameters: Vec::new() };
        define(export, names, &mut entries);
    }
    for (module, content) in &source.modules {
        for item in &content.items {
            if let Item::Impl(item) = item {
                let parameters = item.generics.type_params().map(|own| own.ident.clone()).collect();
                let names = Names { source, module, exported: &exported, parameters };
                implement(item, &content.conditions, names, &mut entries);
            }
        }
    }
    entries.sort_by(|one, other| {
        (&one.owner, &one.kind, &one.line).cmp(&(&other.owner, &other.kind, &other.line))
    });
    entries
}

/// The lines of an exported item itself.
fn define(export: &Export<'_>, mut names: Names<'_>, entries: &mut Vec<Entry>) {
    let owner = &export.name;
    let mut add = |kind, line: String, attributes: &[Attribute], conditions: &[String]| {
        let line = format!("{}{line}", promises(attributes, conditions));
        entries.push(Entry { owner: owner.clone(), kind, line, docs: docs(attributes) });
    };
    let conditions = &export.conditions[..];
    match export.item {
        Item::Use(item) => {
            add(Kind::Crate, format!("pub use {}", text(&item.tree)), &item.attrs, conditions);
        }
        Item::Type(item) => {
            let ty = names.written(&item.ty);
            add(Kind::Type, format!("pub type {owner} = {ty}"), &item.attrs, conditions);
        }
        Item::Const(item) => {
            let (ty, value) = (names.written(&item.ty), text(&item.expr));
            let line = format!("pub const {owner}: {ty} = {value}");
            add(Kind::Constant(owner.clone()), line, &item.attrs, conditions);
        }
        Item::Fn(item) => {
            let line = format!("pub {}", function(&item.sig, owner, &mut names));
            add(Kind::Function(owner.clone()), line, &item.attrs, conditions);
        }
        Item::Struct(item) => {
            names.declare(&item.generics);
            let (generics, bounds) = generics(&item.generics, &mut names);
            let private = item.fields.iter().filter(|field| !is_public(&field.vis)).count();
            let hidden = if private > 0 { " { .. }" } else { "" };
            let line = format!("pub struct {owner}{generics}{bounds}{hidden}");
            add(Kind::Type, line, &item.attrs, conditions);
            for (index, field) in item.fields.iter().enumerate() {
                if is_public(&field.vis) {
                    let ident = field.ident.as_ref();
                    let name = ident.map_or_else(|| index.to_string(), ToString::to_string);
                    let line = format!("field {owner}::{name}: {}", names.written(&field.ty));
                    add(Kind::Part, line, &field.attrs, &[]);
                }
            }
            let fields = item.fields.iter().map(|field| (field, &[][..]));
            for (line, own) in derived(&item.attrs, fields, &mut names) {
                let line = format!("impl{generics} {line} for {owner}{generics}{bounds}");
                add(Kind::Implementation, line, own, conditions);
            }
        }
        Item::Enum(item) => {
            names.declare(&item.generics);
            let (generics, bounds) = generics(&item.generics, &mut names);
            let line = format!("pub enum {owner}{generics}{bounds}");
            add(Kind::Type, line, &item.attrs, conditions);
            for variant in &item.variants {
                let (name, content) = (&variant.ident, parts(&variant.fields, &mut names));
                let value = variant.discriminant.as_ref();
                let value =
                    value.map_or_else(String::new, |(_, value)| format!(" = {}", text(value)));
                let line = format!("variant {owner}::{name}{content}{value}");
                add(Kind::Part, line, &variant.attrs, &[]);
            }
            let fields = item
                .variants
                .iter()
                .flat_map(|variant| variant.fields.iter().map(|field| (field, &variant.attrs[..])));
            for (line, own) in derived(&item.attrs, fields, &mut names) {
                let line = format!("impl{generics} {line} for {owner}{generics}{bounds}");
                add(Kind::Implementation, line, own, conditions);
            }
        }
        Item::Trait(item) => {
            names.declare(&item.generics);
            let (generics, bounds) = generics(&item.generics, &mut names);
            let supertraits = text(&item.supertraits);
            let line = format!("pub trait {owner}{generics}: {supertraits}{bounds}");
            add(Kind::Trait, line, &item.attrs, conditions);
            for item in &item.items {
                let TraitItem::Fn(item) = item else {
                    panic!("{owner} has what the snapshot does not know: {}", text(item));
                };
                let name = item.sig.ident.to_string();
                let required = if item.default.is_none() { "required" } else { "provided" };
                let function = function(&item.sig, &format!("{owner}::{name}"), &mut names);
                let line = format!("{required} {function}");
                add(Kind::Method(name), line, &item.attrs, &[]);
            }
        }
        item => panic!("{owner} is a kind of item that the snapshot does not know: {}", text(item)),
    }
}

/// The lines of an `impl` block, if it is for users.
fn implement(
    item: &syn::ItemImpl,
    conditions: &[String],
    mut names: Names<'_>,
    entries: &mut Vec<Entry>,
) {
    let conditions = [conditions, &conditions_of(&item.attrs)].concat();
    let target = names.written(&item.self_ty);
    let (generics, bounds) = generics(&item.generics, &mut names);
    let exported: Vec<_> = names.exported.values().cloned().collect();
    let mut mentioned = Mentioned::default();
    let mut self_type = (*item.self_ty).clone();
    names.visit_type_mut(&mut self_type);
    mentioned.visit_type(&self_type);
    let Some((path, _)) = &item.trait_ else {
        let Some(owner) = mentioned.of(&exported) else { return };
        for item in &item.items {
            let (line, kind, attributes) = match item {
                ImplItem::Const(item) if is_public(&item.vis) => {
                    let (name, value) = (&item.ident, text(&item.expr));
                    let ty = names.written(&item.ty);
                    let line = format!("pub const {target}::{name}: {ty} = {value}");
                    (line, Kind::Constant(name.to_string()), &item.attrs)
                }
                ImplItem::Fn(item) if is_public(&item.vis) => {
                    let name = item.sig.ident.to_string();
                    let parameters = names.parameters.clone();
                    let line = function(&item.sig, &format!("{target}::{name}"), &mut names);
                    names.parameters = parameters;
                    let kind = match item.sig.receiver() {
                        Some(_) => Kind::Method(name),
                        None => Kind::Function(name),
                    };
                    (format!("pub {line}{bounds}"), kind, &item.attrs)
                }
                _ => continue,
            };
            let line = format!("{}{line}", promises(attributes, &conditions));
            entries.push(Entry { owner: owner.clone(), kind, line, docs: docs(attributes) });
        }
        return;
    };
    let mut path = path.clone();
    names.visit_path_mut(&mut path);
    mentioned.visit_path(&path);
    let is_private = |text: &str| text.starts_with("crate::");
    let Some(owner) = mentioned.of(&exported) else { return };
    if is_private(&target) || is_private(&text(&path)) {
        return;
    }
    let types = item.items.iter().filter_map(|item| match item {
        ImplItem::Type(item) => Some(format!("type {} = {};", item.ident, names.written(&item.ty))),
        _ => None,
    });
    let types = types.collect::<Vec<_>>().join(" ");
    let types = if types.is_empty() { types } else { format!(" {{ {types} }}") };
    let line = format!("impl{generics} {} for {target}{bounds}{types}", text(&path));
    let line = format!("{}{line}", promises(&[], &conditions));
    entries.push(Entry { owner, kind: Kind::Implementation, line, docs: String::new() });
}

// === impl Names ===

impl Names<'_> {
    /// A type with every name in it resolved.
    pub(super) fn written(&mut self, ty: &syn::Type) -> String {
        let mut ty = ty.clone();
        self.visit_type_mut(&mut ty);
        text(&ty)
    }
}

/// The first names of paths.
#[derive(Default)]
struct Mentioned(Vec<String>);

impl Mentioned {
    /// The first of the exported items.
    fn of(&self, exported: &[String]) -> Option<String> {
        self.0.iter().find(|name| exported.contains(name)).cloned()
    }
}

impl<'a> Visit<'a> for Mentioned {
    fn visit_path(&mut self, path: &'a syn::Path) {
        self.0.extend(path.segments.first().map(|segment| segment.ident.to_string()));
        visit::visit_path(self, path);
    }
}

/// A signature without the names of its arguments.
fn function(signature: &Signature, path: &str, names: &mut Names<'_>) -> String {
    let mut signature = signature.clone();
    names.declare(&signature.generics);
    names.visit_signature_mut(&mut signature);
    let arguments: Vec<_> = signature
        .inputs
        .iter()
        .map(|argument| match argument {
            FnArg::Receiver(receiver) => match &receiver.kind {
                ReceiverKind::Value => "self".to_owned(),
                _ => text(receiver),
            },
            FnArg::Typed(argument) => text(&argument.ty),
        })
        .collect();
    let words = [
        signature.constness.map(|_| "const "),
        signature.asyncness.map(|_| "async "),
        matches!(text(&signature.safety).as_str(), "unsafe").then_some("unsafe "),
    ];
    let words: String = words.into_iter().flatten().collect();
    let (parameters, bounds) = (text(&signature.generics), where_clause(&signature.generics));
    let output = text(&signature.output);
    let output = if output.is_empty() { output } else { format!(" {output}") };
    format!("{words}fn {path}{parameters}({}){output}{bounds}", arguments.join(", "))
}

/// Parameters and bounds of an item.
fn generics(generics: &Generics, names: &mut Names<'_>) -> (String, String) {
    let mut generics = generics.clone();
    names.visit_generics_mut(&mut generics);
    (text(&generics), where_clause(&generics))
}

fn where_clause(generics: &Generics) -> String {
    let predicates = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    let predicates: Vec<_> = predicates.map(text).collect();
    let bounds = predicates.join(", ");
    if bounds.is_empty() { bounds } else { format!(" where {bounds}") }
}

/// The fields of a variant.
fn parts(fields: &Fields, names: &mut Names<'_>) -> String {
    let mut written = Vec::new();
    for field in fields {
        let ty = names.written(&field.ty);
        let ident = field.ident.as_ref();
        written.push(ident.map_or_else(|| ty.clone(), |ident| format!("{ident}: {ty}")));
    }
    match fields {
        Fields::Named(_) => format!(" {{ {} }}", written.join(", ")),
        Fields::Unnamed(_) => format!("({})", written.join(", ")),
        Fields::Unit => String::new(),
    }
}

fn own_name(item: &Item) -> String {
    let ident: &dyn ToString = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => panic!("an item that the snapshot does not know: {}", text(item)),
    };
    ident.to_string()
}
