//! Commands that prose quotes exist: those of this tool, the lessons, and the examples.

use super::finding::{Finding, Tree};
use super::links::comments;
use crate::lesson::LESSONS;
use std::path::Path;

/// Looks at every command in Markdown files, code in them included, and in the comments of sources.
pub fn check(tree: &Tree) -> Result<Finding, String> {
    let main = Path::new("xtask/src/main.rs");
    let main = tree.rust.iter().find(|file| file.path == main);
    let known = names(&main.ok_or("xtask/src/main.rs is missing")?.text);
    let (mut at, mut problems) = (0, Vec::new());
    let prose = tree.markdown.iter().map(|file| (file, file.text.clone()));
    let sources = tree.rust.iter().map(|file| (file, comments(&file.text)));
    for (file, text) in prose.chain(sources) {
        for (number, line) in (1..).zip(text.lines()) {
            for command in quoted(line) {
                at += 1;
                if let Some(why) = unknown(&tree.root, &known, command) {
                    problems.push(format!("{}:{number}: {why}", file.path.display()));
                }
            }
        }
    }
    Ok(Finding::Looked {
        at,
        what: "quoted commands",
        problems,
    })
}

/// The names of the tool's commands, from its table of them.
fn names(source: &str) -> Vec<&str> {
    let table = source.split("const COMMANDS").nth(1).unwrap_or_default();
    let table = table.split("\n];").next().unwrap_or_default();
    let named = table.split("name: \"").skip(1);
    named.filter_map(|rest| rest.split('"').next()).collect()
}

/// What follows `cargo` in a line, each up to what ends a quotation.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let begins = ["cargo xtask ", "cargo run "];
    let starts = begins
        .into_iter()
        .flat_map(|begin| line.match_indices(begin));
    starts.map(|(at, _)| {
        let rest = &line[at + "cargo ".len()..];
        let end = rest.find(['`', '#', ')', '"', ';', '|', '>', '&']);
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// Why there is no such command, if so.
fn unknown(root: &Path, known: &[&str], command: &str) -> Option<String> {
    let mut words = command.split_whitespace();
    let is_name = |word: &&str| {
        word.chars()
            .all(|c| c.is_ascii_lowercase() || "-_".contains(c))
    };
    if words.next() == Some("run") {
        let words: Vec<&str> = words.collect();
        let after = |options: &[&str]| {
            let at = words.iter().position(|word| options.contains(word))?;
            words.get(at + 1).copied().filter(|word| is_name(word))
        };
        let package = after(&["-p", "--package"]).unwrap_or("goruntime");
        let example = after(&["--example"])?;
        let folder = root.join("crates").join(package).join("examples");
        let is_there = [format!("{example}.rs"), format!("{example}/main.rs")]
            .iter()
            .any(|file| folder.join(file).exists());
        return (!is_there)
            .then(|| format!("`cargo {command}`: {package} has no example {example}"));
    }
    let name = words.next().filter(is_name)?;
    if !known.contains(&name) {
        return Some(format!("`cargo xtask {name}`: there is no such command"));
    }
    let lesson = words
        .next()
        .filter(|word| name == "lesson" && is_name(word));
    let lesson = lesson.filter(|word| !word.starts_with('-'))?;
    let is_there = LESSONS.iter().any(|known| known.name == lesson);
    (!is_there).then(|| format!("`cargo xtask lesson {lesson}`: there is no such lesson"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn commands_lessons_and_examples_are_looked_up() {
        let known = ["lint", "lesson"];
        let wrong = |command: &str| unknown(&workspace::root(), &known, command).is_some();
        assert!(!wrong("xtask lint links"));
        assert!(wrong("xtask lnit"));
        assert!(!wrong("xtask <command>"));
        assert!(!wrong("xtask lesson NAME"));
        assert!(!wrong("xtask lesson --all"));
        assert!(!wrong(&format!("xtask lesson {}", LESSONS[0].name)));
        assert!(wrong("xtask lesson none"));
        assert!(!wrong(
            "run --release -p gostack --example parked [contexts]"
        ));
        assert!(!wrong("run --example kv -- --port 1"));
        assert!(wrong("run -p gostack --example gone"));
        assert!(!wrong("run -p gostack"));
    }

    #[test]
    fn a_line_may_quote_several() {
        let line = "`cargo xtask lint` and cargo run --example kv # or so, `cargo xtask doc`";
        let mut found: Vec<&str> = quoted(line).map(str::trim).collect();
        found.sort_unstable();
        assert_eq!(found, ["run --example kv", "xtask doc", "xtask lint"]);
    }

    #[test]
    fn the_table_is_read() {
        let source = std::fs::read_to_string(workspace::root().join("xtask/src/main.rs"));
        let source = source.unwrap();
        assert!(names(&source).contains(&"lint") && !names(&source).contains(&"links"));
    }
}
