//! What can be set from outside is in the book: every environment variable, and every key of `GODEBUG` and `GOMEM_OPTIONS`.
//!
//! They are found in the sources by the forms in which they are read there: a variable is a string that begins with `GO`, in capitals; a key is an arm of a `match`.

use super::finding::{Finding, Tree};
use std::collections::BTreeSet;
use std::path::Path;

/// The page that has to name them.
const PAGE: &str = "docs/src/operations.md";

/// Where keys are read, and what stands before and behind one there.
const KEYS: &[(&str, &str, &str)] = &[
    ("crates/goruntime/src/settings.rs", "(\"", "\", Ok("),
    ("crates/gomem/src/options/parse.rs", "b\"", "\" =>"),
];

/// Crates whose variables are for those who work on this workspace.
const INNER: &[&str] = &["crates/goexplore"];

/// Looks for every name on the page.
pub fn check(tree: &Tree) -> Result<Finding, String> {
    let page = tree
        .markdown
        .iter()
        .find(|file| file.path == Path::new(PAGE))
        .ok_or(format!("{PAGE} is missing"))?;
    let mut names = BTreeSet::new();
    for file in &tree.rust {
        let source = production(&file.text);
        let is_outer = INNER.iter().all(|inner| !file.path.starts_with(inner));
        let is_source = file.path.starts_with("crates")
            && file.path.components().any(|part| part.as_os_str() == "src");
        if is_source && is_outer {
            names.extend(variables(&source));
        }
        for (path, before, behind) in KEYS {
            if file.path == Path::new(path) {
                names.extend(between(&source, before, behind));
            }
        }
    }
    let is_missing = |name: &&&str| !page.text.contains(&format!("`{name}`"));
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let problems = all
        .iter()
        .filter(is_missing)
        .map(|name| format!("{PAGE} says nothing of `{name}`"))
        .collect();
    Ok(Finding::Looked {
        at: all.len(),
        what: "variables and keys",
        problems,
    })
}

/// The text without comments and tests.
fn production(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests").next();
    let lines = before_tests.unwrap_or_default().lines();
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// Strings that begin with `GO` and have nothing in them but capitals and underscores; an equals sign may follow.
fn variables(source: &str) -> impl Iterator<Item = String> {
    source.split("\"GO").skip(1).filter_map(|rest| {
        let end = rest.find('"')?;
        let name = rest[..end].strip_suffix('=').unwrap_or(&rest[..end]);
        let fits = |c: char| c.is_ascii_uppercase() || c == '_';
        (name.len() > 1 && name.chars().all(fits)).then(|| format!("GO{name}"))
    })
}

/// Words of small letters and underscores that stand between two texts.
fn between(source: &str, before: &str, behind: &str) -> BTreeSet<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c == '_';
    let parts = source.split(before).skip(1);
    let words = parts.filter_map(|rest| rest.split_once(behind).map(|(word, _)| word));
    words
        .filter(|word| !word.is_empty() && word.chars().all(fits))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn variables_and_keys_are_found_where_they_are_read() {
        let found: Vec<String> =
            variables("read(\"GOGC\", x) b\"GOMEM_OPTIONS=\" \"GO on\" \"GOOSE \" \"GO\"")
                .collect();
        assert_eq!(found, ["GOGC", "GOMEM_OPTIONS"]);
        let source = "match key { b\"report\" | b\"x\" => a, (\"gctrace\", Ok(n)) => b }";
        assert_eq!(
            between(source, "b\"", "\" =>"),
            BTreeSet::from(["x".to_owned()])
        );
        assert_eq!(
            between(source, "(\"", "\", Ok("),
            BTreeSet::from(["gctrace".to_owned()])
        );
    }

    #[test]
    fn the_sources_are_read() {
        let root = workspace::root();
        for (path, before, behind) in KEYS {
            let source = std::fs::read_to_string(root.join(path)).unwrap();
            let keys = between(&production(&source), before, behind);
            assert!(keys.len() > 3, "{path}: {keys:?}");
        }
    }
}
