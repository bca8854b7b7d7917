//! Which source file imports which, and the circles among them.
//!
//! A file imports another if it names something defined there: in a `use`, or by a path that begins with `crate`, `super`,
//! `self` or a child module. A name that a module only passes on (`pub use child::Name`, with any visibility) belongs to the
//! file that defines it; so a parent that re-exports its children imports them only where its own code uses the name, and a
//! child that imports a re-exported sibling through its parent imports the sibling. `mod child;` alone is no import.
//! `#[cfg(test)]` items do not count. What the text does not show is not seen: a method called on a value whose type another
//! file extends.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

type Names = Vec<String>;

/// An import, `name` in the importing module for `path`.
struct Import {
    path: Names,
    /// `*` for a glob.
    name: String,
    is_reexport: bool,
}

#[derive(Default)]
struct Module {
    file: PathBuf,
    imports: Vec<Import>,
    /// Paths in code.
    paths: Vec<Names>,
    /// All names in code.
    words: BTreeSet<String>,
}

/// The modules of one crate by their path.
#[derive(Default)]
pub struct Imports {
    modules: BTreeMap<Names, Module>,
}

/// From a file to a file, by the name that is imported.
pub type Edges = BTreeMap<(PathBuf, PathBuf), String>;

impl Imports {
    /// Reads the crate whose root is `src/lib.rs` or `src/main.rs`.
    pub fn read(src: &Path) -> Self {
        let mut imports = Imports::default();
        let root = ["lib.rs", "main.rs"].map(|name| src.join(name));
        let root = root.iter().find(|root| root.is_file()).expect("a crate has a root file");
        imports.read_file(root, Names::new(), src);
        imports
    }

    fn read_file(&mut self, file: &Path, path: Names, children: &Path) {
        let text =
            std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let tokens =
            TokenStream::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let module = Module { file: file.to_owned(), ..Module::default() };
        self.modules.insert(path.clone(), module);
        self.read_tokens(tokens.into_iter().collect(), &path, file, children);
    }

    fn read_tokens(&mut self, tokens: Vec<TokenTree>, path: &Names, file: &Path, children: &Path) {
        let word = |i: usize| match tokens.get(i) {
            Some(TokenTree::Ident(word)) => Some(word.to_string()),
            _ => None,
        };
        let is = |i: usize, sign: char| matches!(tokens.get(i), Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
        let mut i = 0;
        while i < tokens.len() {
            match &tokens[i] {
                TokenTree::Punct(_) if is(i, '#') && is_test(tokens.get(i + 1)) => {
                    i = end_of_item(&tokens, i + 2);
                    continue;
                }
                TokenTree::Ident(first) if first == "mod" && word(i + 1).is_some() => {
                    let name = word(i + 1).unwrap_or_default();
                    let (mut path, below) = (path.clone(), children.join(&name));
                    path.push(name.clone());
                    match tokens.get(i + 2) {
                        Some(TokenTree::Group(body)) => {
                            let module = Module { file: file.to_owned(), ..Module::default() };
                            self.modules.insert(path.clone(), module);
                            self.read_tokens(
                                body.stream().into_iter().collect(),
                                &path,
                                file,
                                &below,
                            );
                        }
                        _ => {
                            let files = [children.join(format!("{name}.rs")), below.join("mod.rs")];
                            let file = files.iter().find(|file| file.is_file());
                            let file = file.unwrap_or_else(|| panic!("no file for {path:?}"));
                            self.read_file(file, path, &below);
                        }
                    }
                    i += 3;
                    continue;
                }
                TokenTree::Ident(first) if first == "use" => {
                    let end = (i..tokens.len()).find(|&i| is(i, ';')).unwrap_or(tokens.len());
                    let is_reexport = i > 0
                        && (word(i - 1).is_some_and(|word| word == "pub")
                            || matches!(&tokens[i - 1], TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis));
                    let mut leaves = Vec::new();
                    use_tree(&tokens[i + 1..end], Names::new(), &mut leaves);
                    let module = self.modules.entry(path.clone()).or_default();
                    module.imports.extend(leaves.into_iter().map(|(path, name)| Import {
                        path,
                        name,
                        is_reexport,
                    }));
                    i = end + 1;
                    continue;
                }
                TokenTree::Ident(first) => {
                    let mut names = vec![first.to_string()];
                    while is(i + 1, ':') && is(i + 2, ':') && word(i + 3).is_some() {
                        names.extend(word(i + 3));
                        i += 3;
                    }
                    let module = self.modules.entry(path.clone()).or_default();
                    module.words.insert(names[0].clone());
                    if names.len() > 1 {
                        module.paths.push(names);
                    }
                }
                TokenTree::Group(group) => {
                    self.read_tokens(group.stream().into_iter().collect(), path, file, children);
                }
                _ => {}
            }
            i += 1;
        }
    }

    /// Every import of a file by another one.
    pub fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (path, module) in &self.modules {
            let mut add = |target: Option<&PathBuf>, name: &Names| {
                if let Some(target) = target.filter(|target| **target != module.file) {
                    edges.entry((module.file.clone(), target.clone())).or_insert(name.join("::"));
                }
            };
            for import in &module.imports {
                // What is only passed on is no import.
                if !import.is_reexport || module.words.contains(&import.name) {
                    add(self.file_of(path, &import.path, 0), &import.path);
                }
            }
            for names in &module.paths {
                // A local name may be an import, which counts already, or of another crate.
                let is_local = ["crate", "super", "self"].contains(&names[0].as_str())
                    || self.modules.contains_key(&joined(path, &names[0]));
                if is_local {
                    add(self.file_of(path, names, 0), names);
                }
            }
        }
        edges
    }

    /// The file that defines what `names` means in the module `from`; None for another crate's.
    fn file_of(&self, from: &Names, names: &[String], depth: usize) -> Option<&PathBuf> {
        let (mut at, mut rest) = (from.clone(), names);
        while let Some((first, later)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                _ => break,
            }
            rest = later;
        }
        let is_absolute = rest.len() < names.len();
        while let Some((first, later)) = rest.split_first() {
            let child = joined(&at, first);
            if !self.modules.contains_key(&child) {
                break;
            }
            (at, rest) = (child, later);
        }
        let module = self.modules.get(&at)?;
        let Some((name, later)) = rest.split_first() else { return Some(&module.file) };
        if !is_absolute && rest.len() == names.len() {
            return None; // begins with no module of this crate
        }
        // A name that this module imported itself is defined elsewhere.
        let passed_on = module.imports.iter().find(|import| import.name == *name && name != "*");
        if let Some(import) = passed_on.filter(|_| depth < 16) {
            let path = [&import.path[..], later].concat();
            return self.file_of(&at, &path, depth + 1);
        }
        Some(&module.file)
    }
}

fn joined(path: &Names, name: &str) -> Names {
    [&path[..], &[name.to_owned()]].concat()
}

/// Whether an attribute's brackets hold `cfg(test)`.
pub(crate) fn is_test(brackets: Option<&TokenTree>) -> bool {
    brackets.is_some_and(|brackets| brackets.to_string().replace(' ', "") == "[cfg(test)]")
}

/// The token after an item: after its braces, or after its semicolon.
pub(crate) fn end_of_item(tokens: &[TokenTree], from: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    tokens[from..].iter().position(ends).map_or(tokens.len(), |end| from + end + 1)
}

/// The leaves of a `use`: path, and name in the importing module.
fn use_tree(tokens: &[TokenTree], mut path: Names, leaves: &mut Vec<(Names, String)>) {
    let mut renamed = None;
    let mut i = 0;
    while i < tokens.len() {
        match &tokens[i] {
            TokenTree::Ident(word) if word == "as" => {
                renamed = tokens.get(i + 1).map(ToString::to_string);
                i += 1;
            }
            TokenTree::Ident(word) => path.push(word.to_string()),
            TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".to_owned()),
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
                for part in inner.split(is_comma).filter(|part| !part.is_empty()) {
                    use_tree(part, path.clone(), leaves);
                }
                return;
            }
            _ => {}
        }
        i += 1;
    }
    // `use a::{self}` is `use a`.
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let last = path.last().cloned().unwrap_or_default();
    leaves.push((path, renamed.unwrap_or(last)));
}

/// Groups of files that reach one another, each sorted.
pub fn circles(edges: &Edges) -> Vec<BTreeSet<PathBuf>> {
    let reached = |from: &PathBuf| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            for (_, to) in edges.keys().filter(|(a, _)| a == file) {
                if seen.insert(to.clone()) {
                    open.push(to);
                }
            }
        }
        seen
    };
    let files: BTreeSet<&PathBuf> = edges.keys().map(|(from, _)| from).collect();
    let reach: BTreeMap<&PathBuf, BTreeSet<PathBuf>> =
        files.iter().map(|file| (*file, reached(file))).collect();
    let mut groups = BTreeSet::new();
    for (file, reaches) in reach.iter().filter(|(file, reaches)| reaches.contains(**file)) {
        let back = |other: &&PathBuf| reach.get(*other).is_some_and(|back| back.contains(*file));
        groups.insert(reaches.iter().filter(back).cloned().collect::<BTreeSet<PathBuf>>());
    }
    groups.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate of these files, names without folder.
    fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let name = |path: &PathBuf| {
            path.strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned()
        };
        circles(&Imports::read(folder.path()).edges())
            .iter()
            .map(|circle| circle.iter().map(name).collect())
            .collect()
    }

    #[test]
    fn two_files_and_a_longer_way_round_are_circles() {
        let two = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "pub struct B; fn f(a: &crate::a::A) {}"),
            ("c.rs", "use crate::a::A;"),
        ];
        assert_eq!(circles_of(&two), [["a.rs", "b.rs"]]);
        let three = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::{self, x as y};"),
            ("b.rs", "macro!{ super::c::D }"),
            ("c.rs", "use super::a;"),
        ];
        assert_eq!(circles_of(&three), [["a.rs", "b.rs", "c.rs"]]);
    }

    #[test]
    fn a_parent_may_pass_on_its_children_and_a_circle_begins_where_both_use_each_other() {
        let passed_on = [
            ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
            ("a.rs", "use crate::B; pub struct A(B);"),
            ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::A; use super::*; }"),
        ];
        assert!(circles_of(&passed_on).is_empty(), "{:?}", circles_of(&passed_on));
        let own = [
            ("lib.rs", "mod a; pub use a::A; pub struct Own;"),
            ("a.rs", "pub struct A(crate::Own);"),
        ];
        assert!(circles_of(&own).is_empty());
        let used = [
            ("lib.rs", "mod a; pub(crate) use a::A; pub struct Own(Option<A>);"),
            ("a.rs", "pub struct A(crate::Own);"),
        ];
        assert_eq!(circles_of(&used), [["a.rs", "lib.rs"]]);
        let called = [
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; mod c { pub fn g() { super::b::f() } }"),
            ("a/b.rs", "pub fn f() { super::c::g() }"),
        ];
        assert_eq!(circles_of(&called), [["a/b.rs", "a/mod.rs"]]);
    }
}
