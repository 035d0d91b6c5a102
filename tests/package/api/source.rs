//! The modules of a crate, and what a name in one of them stands for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quote::format_ident;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Generics, Ident, Item, PathArguments, PathSegment, TypePath, UseTree};

use super::text::text;

/// Reads a file of the source; none where there is no such file.
pub(super) type Read<'a> = dyn Fn(&Path) -> Option<String> + 'a;

/// The modules by their paths, that of the crate's root being empty.
pub(super) struct Source {
    pub(super) modules: BTreeMap<Vec<String>, Module>,
}

pub(super) struct Module {
    pub(super) items: Vec<Item>,
    /// The conditions under which it is compiled.
    pub(super) conditions: Vec<String>,
    /// What is imported, by the name that it has here.
    uses: BTreeMap<String, Vec<String>>,
}

/// An item of the crate that can be named outside of it.
pub(super) struct Export<'a> {
    pub(super) name: String,
    /// The module that has the item.
    pub(super) module: &'a [String],
    pub(super) item: &'a Item,
    pub(super) conditions: Vec<String>,
}

/// Replaces each name by what it stands for, with the crate it is from.
pub(super) struct Names<'a> {
    pub(super) source: &'a Source,
    pub(super) module: &'a [String],
    /// By the paths of the items.
    pub(super) exported: &'a BTreeMap<Vec<String>, String>,
    /// The parameters of the item's own.
    pub(super) parameters: Vec<Ident>,
}

// === impl Source ===

impl Source {
    /// Reads the modules of the crate with this root.
    pub(super) fn read(root: &Path, read: &Read<'_>) -> Self {
        let mut source = Self { modules: BTreeMap::new() };
        let text = read(root).unwrap_or_else(|| panic!("cannot read {}", root.display()));
        let items = parse(root, &text);
        let folder = root.parent().expect("a file is in a folder");
        source.add(Vec::new(), Vec::new(), folder, items, read);
        source
    }

    fn add(
        &mut self,
        path: Vec<String>,
        conditions: Vec<String>,
        folder: &Path,
        items: Vec<Item>,
        read: &Read<'_>,
    ) {
        let mut uses = BTreeMap::new();
        for item in &items {
            match item {
                Item::Use(item) => imports(&item.tree, &[], &mut uses),
                Item::Mod(module) => {
                    let own = conditions_of(&module.attrs);
                    // Not there in a build for users.
                    if own.iter().any(|one| one.contains("test") || one.contains("doc")) {
                        continue;
                    }
                    let name = module.ident.to_string();
                    let inner = folder.join(&name);
                    let items = match &module.content {
                        Some((_, items)) => items.clone(),
                        None => file(&[inner.with_extension("rs"), inner.join("mod.rs")], read),
                    };
                    let path = [&path[..], &[name]].concat();
                    self.add(path, [&conditions[..], &own].concat(), &inner, items, read);
                }
                _ => {}
            }
        }
        self.modules.insert(path, Module { items, conditions, uses });
    }

    /// What the root exports with `pub use crate::…`, and its own public items.
    pub(super) fn exports(&self) -> Vec<Export<'_>> {
        let (path, root) = self.modules.get_key_value(&[][..]).expect("there is a root");
        let mut exports = Vec::new();
        for item in &root.items {
            match item {
                Item::Use(item) if is_public(&item.vis) => {
                    let conditions = conditions_of(&item.attrs);
                    let mut names = BTreeMap::new();
                    imports(&item.tree, &[], &mut names);
                    for (name, target) in names {
                        exports.push(self.find(name, &target, &conditions));
                    }
                }
                Item::Type(syn::ItemType { ident, vis, .. })
                | Item::Const(syn::ItemConst { ident, vis, .. })
                | Item::Struct(syn::ItemStruct { ident, vis, .. })
                | Item::Enum(syn::ItemEnum { ident, vis, .. })
                    if is_public(vis) =>
                {
                    let (name, module) = (ident.to_string(), &path[..]);
                    exports.push(Export { name, module, item, conditions: Vec::new() });
                }
                Item::Mod(module) => {
                    let is_here = self.modules.contains_key(&[module.ident.to_string()][..]);
                    assert!(
                        !is_public(&module.vis) || !is_here,
                        "a public module, {}: the snapshot knows items of lib.rs alone",
                        module.ident
                    );
                }
                _ => {}
            }
        }
        exports
    }

    /// The item that an export is of, through any number of modules that export it in turn.
    fn find(&self, name: String, target: &[String], conditions: &[String]) -> Export<'_> {
        let mut conditions = conditions.to_vec();
        if target.first().is_none_or(|first| first != "crate") {
            // A crate as a whole.
            let (path, root) = self.modules.get_key_value(&[][..]).expect("there is a root");
            let item = root.items.iter().find(|item| {
                matches!(item, Item::Use(item) if is_public(&item.vis)
                    && text(&item.tree) == target.join("::"))
            });
            let item = item.unwrap_or_else(|| panic!("{target:?} is exported in a group"));
            return Export { name, module: path, item, conditions };
        }
        let canonical = self.canonical(target);
        let (last, module) = canonical.split_last().expect("a path has segments");
        let (path, module) = self
            .modules
            .get_key_value(&module[1..])
            .unwrap_or_else(|| panic!("{target:?} is exported, and its module is not there"));
        let item = module.items.iter().find(|item| ident(item).is_some_and(|ident| ident == last));
        let item = item.unwrap_or_else(|| {
            panic!("{target:?} is exported and not found (is it made by a macro?)")
        });
        conditions.extend(module.conditions.iter().cloned());
        Export { name, module: path, item, conditions }
    }

    /// The path of an item where it is defined.
    pub(super) fn canonical(&self, path: &[String]) -> Vec<String> {
        let mut path = path.to_vec();
        while let Some((last, module)) = path.split_last() {
            let module = module.get(1..).and_then(|module| self.modules.get_key_value(module));
            let Some((at, module)) = module else { break };
            let Some(target) = module.uses.get(last) else { break };
            path = absolute(at, target);
        }
        path
    }

    /// What a name in a module stands for, if that is not itself.
    fn lookup(&self, at: &[String], name: &str) -> Option<Vec<String>> {
        let module = &self.modules[at];
        if let Some(target) = module.uses.get(name) {
            let target = absolute(at, target);
            let is_ours = target[0] == "crate";
            return Some(if is_ours { self.canonical(&target) } else { target });
        }
        let is_ours = module.items.iter().filter_map(ident).any(|ident| ident == name);
        is_ours.then(|| [&["crate".to_owned()], at, &[name.to_owned()]].concat())
    }
}

// === impl Names ===

impl Names<'_> {
    /// Takes these names for parameters from here on.
    pub(super) fn declare(&mut self, generics: &Generics) {
        self.parameters.extend(generics.type_params().map(|parameter| parameter.ident.clone()));
    }

    /// The words of a path with the crate it is from.
    fn resolve(&self, path: &[String]) -> Vec<String> {
        let (first, rest) = path.split_first().expect("a path has segments");
        let is_own = *first == "Self" || self.parameters.iter().any(|own| own == first);
        let resolved = match &**first {
            _ if is_own => None,
            "crate" | "self" | "super" => {
                return self.source.canonical(&absolute(self.module, path));
            }
            _ => self.source.lookup(self.module, first),
        };
        let resolved = resolved.unwrap_or_else(|| vec![first.clone()]);
        [&resolved[..], rest].concat()
    }

    /// The path as a user of the crate writes it.
    pub(super) fn outside(&self, path: &[String]) -> Vec<String> {
        let resolved = self.resolve(path);
        for length in 1..=resolved.len() {
            if let Some(name) = self.exported.get(&resolved[..length]) {
                return [std::slice::from_ref(name), &resolved[length..]].concat();
            }
        }
        resolved
    }
}

impl VisitMut for Names<'_> {
    fn visit_path_mut(&mut self, path: &mut syn::Path) {
        let words: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let mut arguments: Vec<_> = path
            .segments
            .iter()
            .map(|segment| segment.arguments.clone())
            .filter(|arguments| !arguments.is_none())
            .collect();
        assert!(arguments.len() < 2, "two segments with arguments: {words:?}");
        let resolved = self.outside(&words);
        path.segments = resolved
            .iter()
            .map(|word| PathSegment {
                ident: format_ident!("{word}"),
                arguments: PathArguments::None,
            })
            .collect();
        if let (Some(last), Some(arguments)) = (path.segments.last_mut(), arguments.pop()) {
            last.arguments = arguments;
        }
        visit_mut::visit_path_mut(self, path);
    }

    fn visit_type_path_mut(&mut self, path: &mut TypePath) {
        // The position of `as` in a path would not be right any more.
        assert!(path.qself.is_none(), "write {} as a bound instead", text(path));
        visit_mut::visit_type_path_mut(self, path);
    }
}

/// The name of an item.
fn ident(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Mod(item) => Some(&item.ident),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        _ => None,
    }
}

pub(super) fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

/// The `cfg` attributes, written out.
pub(super) fn conditions_of(attributes: &[Attribute]) -> Vec<String> {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    conditions.map(text).collect()
}

/// A path that begins with `crate` or another crate's name.
fn absolute(at: &[String], path: &[String]) -> Vec<String> {
    let here = || [&["crate".to_owned()], at].concat();
    match &*path[0] {
        "self" => [&here()[..], &path[1..]].concat(),
        "super" => absolute(&at[..at.len() - 1], &[&["self".to_owned()], &path[1..]].concat()),
        _ => path.to_vec(),
    }
}

fn imports(tree: &UseTree, before: &[String], names: &mut BTreeMap<String, Vec<String>>) {
    let with = |ident: &Ident| [before, &[ident.to_string()]].concat();
    match tree {
        UseTree::Path(path) => imports(&path.tree, &with(&path.ident), names),
        UseTree::Name(name) if name.ident == "self" => {
            let last = before.last().expect("self is after a path");
            names.insert(last.clone(), before.to_vec());
        }
        UseTree::Name(name) => {
            names.insert(name.ident.to_string(), with(&name.ident));
        }
        UseTree::Rename(rename) => {
            names.insert(rename.rename.to_string(), with(&rename.ident));
        }
        UseTree::Group(group) => group.items.iter().for_each(|one| imports(one, before, names)),
        // What a glob brings is not looked for: the crate has none that brings a name of its API.
        UseTree::Glob(_) => {}
    }
}

fn file(candidates: &[PathBuf], read: &Read<'_>) -> Vec<Item> {
    let found = candidates.iter().find_map(|path| Some((path, read(path)?)));
    let (path, text) = found.unwrap_or_else(|| panic!("none of {candidates:?} can be read"));
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Vec<Item> {
    let file = syn::parse_file(text);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display())).items
}
