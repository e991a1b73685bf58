//! Documentation that points somewhere points at something that exists.
//!
//! Three checks: relative links and their anchors; paths quoted in prose as code, such as `docs/src/SUMMARY.md` or, with the name of a
//! function in it, `xtask/src/main.rs::main`; and that the book's summary lists every chapter. Addresses on the web
//! are not looked at: that would make the outcome depend on the network.

use super::finding::{Finding, Tree};
use super::markdown::Document;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// What begins so inside a code span is a path from the root.
const FOLDERS: &[&str] = &["crates/", "tests/", "docs/", "xtask/", ".ci/", ".cargo/"];

/// Relative links and anchors lead somewhere.
pub fn links(tree: &Tree) -> Result<Finding, String> {
    let documents: HashMap<&Path, Document> = tree
        .markdown
        .iter()
        .map(|file| (file.path.as_path(), Document::parse(&file.text)))
        .collect();
    let (mut at, mut problems) = (0, Vec::new());
    for file in &tree.markdown {
        let document = &documents[file.path.as_path()];
        let mut problem = |line: &usize, why: String| {
            problems.push(format!("{}:{line}: {why}", file.path.display()));
        };
        for (line, target) in &document.links {
            if is_external(target) {
                continue;
            }
            at += 1;
            if let Some(why) = dead(&tree.root, &documents, &file.path, target) {
                problem(line, why);
            }
        }
        for (line, label) in &document.undefined {
            problem(line, format!("nothing defines [{label}]"));
        }
    }
    Ok(Finding::Looked {
        at,
        what: "relative links",
        problems,
    })
}

fn is_external(target: &str) -> bool {
    let scheme = target.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|s| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// Why a link from `file` leads nowhere, if so.
fn dead(
    root: &Path,
    documents: &HashMap<&Path, Document>,
    file: &Path,
    target: &str,
) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => file.to_owned(),
        path => match normal(&file.parent()?.join(path)) {
            Some(path) => path,
            None => return Some(format!("`{target}` leads out of the tree")),
        },
    };
    if !root.join(&path).exists() {
        return Some(format!("`{target}`: there is no {}", path.display()));
    }
    let anchors = documents.get(path.as_path()).map(|d| &d.anchors)?;
    let is_missing = !anchor.is_empty() && !anchors.contains(anchor);
    is_missing.then(|| format!("`{target}`: {} has no such heading", path.display()))
}

/// The path without `.` and `..`; `None` if it leads out of where it starts.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir if normal.pop() => {}
            _ => return None,
        }
    }
    Some(normal)
}

/// Paths in code spans of prose and of comments exist, and so do the functions named in them.
pub fn names(tree: &Tree) -> Result<Finding, String> {
    let (mut at, mut problems) = (0, Vec::new());
    let prose = tree.markdown.iter().map(|file| (file, file.text.clone()));
    let comments = tree.rust.iter().map(|file| (file, comments(&file.text)));
    for (file, text) in prose.chain(comments) {
        for (line, span) in Document::parse(&text).spans {
            if !is_path(&span) {
                continue;
            }
            at += 1;
            let mut answers = bases(&tree.root, &file.path).map(|base| absent(&base, &span));
            // The answer for the root comes first, and is the one to report.
            if let Some(Some(why)) = answers.next()
                && answers.all(|answer| answer.is_some())
            {
                problems.push(format!("{}:{line}: {why}", file.path.display()));
            }
        }
    }
    Ok(Finding::Looked {
        at,
        what: "quoted paths",
        problems,
    })
}

/// Where a path quoted in `file` may begin: at the root, and at the crate that the file belongs to or, as a chapter
/// of the book, is about.
fn bases(root: &Path, file: &Path) -> impl Iterator<Item = PathBuf> {
    let mut parts = file.components().map(|part| part.as_os_str());
    let in_crates = parts.next().is_some_and(|first| first == "crates");
    let name = if in_crates {
        parts.next()
    } else {
        file.file_stem()
    };
    let folder = name.map(|name| root.join("crates").join(name));
    [
        Some(root.to_owned()),
        folder.filter(|folder| folder.is_dir()),
    ]
    .into_iter()
    .flatten()
}

/// The text of a source file's comments, each on its own line, and empty lines for the rest.
pub(super) fn comments(source: &str) -> String {
    let mut text = String::new();
    for line in source.lines() {
        let line = line.trim_start();
        if line.starts_with("//") {
            text.push_str(line.trim_start_matches(['/', '!']));
        }
        text.push('\n');
    }
    text
}

/// Patterns, placeholders and commands are no paths.
fn is_path(span: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':');
    FOLDERS.iter().any(|folder| span.starts_with(folder))
        && span.chars().all(plain)
        && !span.contains("..")
}

/// Why a path with, perhaps, `::function` or `:line` at its end names nothing, if so.
fn absent(root: &Path, span: &str) -> Option<String> {
    let (path, rest) = span.split_once(':').unwrap_or((span, ""));
    if !root.join(path).exists() {
        return Some(format!("`{span}`: there is no {path}"));
    }
    let function = rest.strip_prefix(':')?;
    let source = std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let name = function.rsplit("::").next()?;
    let is_there = source
        .match_indices(&format!("fn {name}"))
        .any(|(at, found)| source[at + found.len()..].starts_with(['(', '<']));
    (!is_there).then(|| format!("`{span}`: {path} has no function {name}"))
}

/// Every chapter under docs/src is in the summary.
pub fn book(tree: &Tree) -> Result<Finding, String> {
    let source = Path::new("docs/src");
    let summary_path = source.join("SUMMARY.md");
    let is_summary = |path: &Path| path == summary_path;
    let summary = tree.markdown.iter().find(|file| is_summary(&file.path));
    let summary = summary.ok_or("docs/src/SUMMARY.md is missing")?;
    let listed: Vec<PathBuf> = Document::parse(&summary.text)
        .links
        .iter()
        .filter_map(|(_, target)| normal(&source.join(target)))
        .collect();
    let chapters: Vec<&Path> = tree
        .markdown
        .iter()
        .map(|file| file.path.as_path())
        .filter(|path| path.starts_with(source) && !is_summary(path))
        .collect();
    let problems = chapters
        .iter()
        .filter(|chapter| !listed.iter().any(|path| path == *chapter))
        .map(|chapter| format!("{} is not in docs/src/SUMMARY.md", chapter.display()))
        .collect();
    Ok(Finding::Looked {
        at: chapters.len(),
        what: "chapters",
        problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{self, Text};

    fn tree(files: &[(&str, &str)]) -> Tree {
        let text = |&(path, text): &(&str, &str)| Text {
            path: path.into(),
            text: text.to_owned(),
        };
        Tree {
            root: workspace::root(),
            rust: Vec::new(),
            markdown: files.iter().map(text).collect(),
        }
    }

    fn problems(finding: Result<Finding, String>) -> (usize, Vec<String>) {
        match finding {
            Ok(Finding::Looked { at, problems, .. }) => (at, problems),
            _ => panic!("the check did not look"),
        }
    }

    #[test]
    fn dead_links_and_anchors_are_found() {
        let text = "# Here\n[a](#here) [b](#gone) [c](../../Cargo.toml) [d](none.md) [e](https://x.org) [f](../../../x)";
        let (at, problems) = problems(links(&tree(&[("docs/src/SUMMARY.md", text)])));
        assert_eq!(at, 5);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("#gone") && problems[0].starts_with("docs/src/SUMMARY.md:2:"));
        assert!(problems[1].contains("there is no docs/src/none.md"));
        assert!(problems[2].contains("out of the tree"));
    }

    #[test]
    fn quoted_paths_and_functions_are_looked_up() {
        let text = "`xtask/src/main.rs` `xtask/src/main.rs::main` `xtask/src/gone.rs` \
                    `xtask/src/main.rs::gone` `crates/*/src` `cargo xtask test` `xtask/src/main.rs:12`";
        let (at, problems) = problems(names(&tree(&[("a.md", text)])));
        assert_eq!(at, 5);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[1].contains("no function gone"));
    }

    #[test]
    fn a_chapter_may_quote_paths_of_its_crate() {
        let root = workspace::root();
        let crate_of = |file: &str| bases(&root, Path::new(file)).nth(1);
        let gosched = Some(root.join("crates/gosched"));
        assert_eq!(crate_of("docs/src/gosched.md"), gosched);
        assert_eq!(crate_of("crates/gosched/src/lib.rs"), gosched);
        assert_eq!(crate_of("docs/src/glossary.md"), None);
        assert_eq!(crate_of("README.md"), None);
    }

    #[test]
    fn chapters_must_be_listed() {
        let files = [
            (
                "docs/src/SUMMARY.md",
                "- [One](one.md)\n- [Two](decisions/two.md)\n",
            ),
            ("docs/src/one.md", ""),
            ("docs/src/decisions/two.md", ""),
            ("docs/src/three.md", ""),
        ];
        let (at, problems) = problems(book(&tree(&files)));
        assert_eq!(at, 3);
        assert_eq!(
            problems,
            ["docs/src/three.md is not in docs/src/SUMMARY.md"]
        );
    }
}
