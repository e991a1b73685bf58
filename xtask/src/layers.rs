//! `cargo xtask layers`: the modules of each crate in layers, each using only what is below.
//!
//! A crate's top-level modules are its parts; an edge is a path `crate::part` anywhere in a part's sources, tests and comments left out, or a name that
//! the crate's root takes from a part. A cycle among parts means that neither can be read, tested or replaced without the other, and fails
//! unless it is listed with its reason.

use crate::diagram;
use crate::failure::Outcome;
use crate::workspace::{self, Text};
use lexopt::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};
use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask layers [crate]
       cargo xtask layers --diagram

Prints the modules of every crate in layers, the lowest first, and fails where modules use each other in a circle.

Options:
  --diagram   draw the crates and what they use of each other, for the book, instead
";

/// Circles that stay: the crate, the modules, and why.
const CIRCLES: &[(&str, &[&str], &str)] = &[
    (
        "gomem",
        &["fork", "load", "process", "profile"],
        "of a library only what is referred to is linked: process names fork and load for that alone",
    ),
    (
        "goruntime",
        &[
            "collector",
            "compose",
            "finalizer",
            "gc",
            "goroutines",
            "metrics",
            "runtime",
        ],
        "the composition: each part calls the others back, through the hooks that compose gives them",
    ),
];

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut only = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Long("diagram") => {
                let (path, picture) = (diagram::path(), diagram::draw()?);
                let folder = path.parent().unwrap_or(&path);
                std::fs::create_dir_all(folder)?;
                std::fs::write(&path, picture)?;
                println!("{}", path.display());
                return Ok(ExitCode::SUCCESS);
            }
            Value(name) => only = Some(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, graph) in graphs()? {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        println!("{name}");
        for (number, layer) in (1..).zip(layers(&graph)) {
            let parts: Vec<String> = layer.iter().map(|part| part.join(" <-> ")).collect();
            println!("  {number:>2}  {}", parts.join("  "));
            for circle in layer.iter().filter(|part| part.len() > 1) {
                match reason(&name, circle) {
                    Some(why) => println!("      a circle that stays: {why}"),
                    None => {
                        failed += 1;
                        println!("      a circle: {}", witness(&graph, circle));
                    }
                }
            }
        }
        passed += 1;
    }
    println!("{passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0 || passed == 0)))
}

fn reason(crate_name: &str, circle: &[String]) -> Option<&'static str> {
    let is_it = |(name, parts, _): &&(&str, &[&str], &str)| {
        *name == crate_name && circle.iter().all(|part| parts.contains(&part.as_str()))
    };
    CIRCLES.iter().find(is_it).map(|(_, _, why)| *why)
}

/// Edges that make a circle.
fn witness(graph: &Graph, circle: &[String]) -> String {
    let edges = circle.iter().flat_map(|from| {
        let to = circle
            .iter()
            .filter(|to| graph[from.as_str()].contains(*to));
        to.map(move |to| format!("{from} uses {to}"))
    });
    edges.collect::<Vec<_>>().join(", ")
}

/// Each module with those that it uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The graph of every crate under `crates/`, by name.
fn graphs() -> Result<BTreeMap<String, Graph>, String> {
    let root = workspace::root();
    let mut sources: BTreeMap<String, Vec<Text>> = BTreeMap::new();
    for text in workspace::texts(&root.join("crates"), &["rs"])? {
        let mut parts = text.path.components();
        let (Some(Component::Normal(name)), Some(src)) = (parts.next(), parts.next()) else {
            continue;
        };
        if src.as_os_str() == "src" {
            let name = name.to_string_lossy().into_owned();
            let path = parts.as_path().to_owned();
            let text = text.text;
            sources.entry(name).or_default().push(Text { path, text });
        }
    }
    Ok(sources
        .into_iter()
        .map(|(name, texts)| (name, graph(&texts)))
        .collect())
}

/// The part that a file below `src` belongs to; `None` for the root.
fn part(path: &Path) -> Option<String> {
    let first = path.components().next()?.as_os_str().to_string_lossy();
    let name = first.strip_suffix(".rs").unwrap_or(&first);
    (name != "lib" && name != "main").then(|| name.to_owned())
}

fn graph(texts: &[Text]) -> Graph {
    let mut graph: Graph = texts
        .iter()
        .filter_map(|text| Some((part(&text.path)?, BTreeSet::new())))
        .collect();
    let root = texts.iter().find(|text| part(&text.path).is_none());
    let exported = root
        .map(|text| exports(&production(&text.text)))
        .unwrap_or_default();
    for text in texts {
        let Some(from) = part(&text.path) else {
            continue;
        };
        // Models and tests may use everything.
        if text.path.components().any(|c| {
            matches!(
                c.as_os_str().to_str(),
                Some("tests" | "tests.rs" | "explore" | "explore.rs")
            )
        }) {
            continue;
        }
        for name in paths(&production(&text.text)) {
            let to = if graph.contains_key(&name) {
                Some(&name)
            } else {
                exported.get(&name)
            };
            if let Some(to) = to
                .filter(|to| **to != from && graph.contains_key(*to))
                .cloned()
            {
                graph.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    graph.retain(|name, _| name != "tests" && name != "explore");
    graph
}

/// The text without comments, and without what is built for tests only.
fn production(text: &str) -> String {
    let before_tests = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let without = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    before_tests
        .lines()
        .map(without)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first names of all paths that begin with `crate::`, those of `crate::{a, b::c}` too.
fn paths(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => found.extend(name_at(rest)),
            Some(group) => found.extend(members(group)),
        }
    }
    found
}

/// The first names in a group, up to its closing brace.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.extend(name_at(group[start..at].trim_start()));
                start = at + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

fn name_at(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// What the root names: `use part::Name` and `use part::{Name, ..}`, by name.
fn exports(root: &str) -> BTreeMap<String, String> {
    let mut exported = BTreeMap::new();
    for statement in root.split("use ").skip(1) {
        let statement = statement.split(';').next().unwrap_or_default();
        let Some(part) = name_at(statement) else {
            continue;
        };
        // The last name of each path, wherever its group's braces are.
        let names = statement
            .split([',', '{', '}'])
            .filter_map(|path| name_at(path.rsplit("::").next()?.trim()));
        exported.extend(names.map(|name| (name, part.clone())));
    }
    exported
}

/// Parts in layers: each uses only what is in layers before. Those that use each other in a circle stand together.
fn layers(graph: &Graph) -> Vec<Vec<Vec<String>>> {
    let reachable: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|from| (from, reach(graph, from)))
        .collect();
    let mut groups: Vec<Vec<String>> = Vec::new();
    for name in graph.keys() {
        let is_mine = |group: &Vec<String>| {
            let other = &group[0];
            reachable[name].contains(other) && reachable[other].contains(name)
        };
        match groups.iter_mut().find(|group| is_mine(group)) {
            Some(group) => group.push(name.clone()),
            None => groups.push(vec![name.clone()]),
        }
    }
    let mut placed: BTreeSet<String> = BTreeSet::new();
    let mut layers = Vec::new();
    while !groups.is_empty() {
        let is_ready = |group: &Vec<String>| {
            let used = group.iter().flat_map(|name| &graph[name]);
            used.into_iter()
                .all(|name| placed.contains(name) || group.contains(name))
        };
        let (layer, rest): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_ready);
        placed.extend(layer.iter().flatten().cloned());
        layers.push(layer);
        groups = rest;
    }
    layers
}

/// Everything that is used, by way of others too.
fn reach<'a>(graph: &'a Graph, from: &str) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = vec![from];
    while let Some(name) = open.pop() {
        for next in graph.get(name).into_iter().flatten() {
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, text: &str) -> Text {
        Text {
            path: path.into(),
            text: text.to_owned(),
        }
    }

    fn sample() -> Graph {
        graph(&[
            text(
                "lib.rs",
                "mod a;\nmod b;\nmod c;\npub use c::{One, deep::Two};\n",
            ),
            text(
                "a.rs",
                "// crate::c\nuse crate::b::X;\n#[cfg(test)]\nmod tests {\n use crate::c;\n}\n",
            ),
            text("b/mod.rs", "fn f() { crate::Two::new() }\n"),
            text("c.rs", "use crate::{d::{Y, Z}, e};\n"),
            text("d.rs", "use crate::e::W;\n"),
            text("e.rs", "use crate::d::Y;\n"),
        ])
    }

    #[test]
    fn edges_are_paths_in_production_code() {
        let graph = sample();
        let uses = |name: &str| graph[name].iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(
            (uses("a"), uses("b"), uses("c")),
            ("b".into(), "c".into(), "d e".into())
        );
    }

    #[test]
    fn circles_stand_together_and_below_their_users() {
        let layers = layers(&sample());
        let names: Vec<String> = layers
            .iter()
            .map(|layer| {
                layer
                    .iter()
                    .map(|part| part.join("="))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        assert_eq!(names, ["d=e", "c", "b", "a"]);
    }

    #[test]
    fn this_workspace_has_layers() {
        let graphs = graphs().unwrap();
        assert!(graphs["gosched"].contains_key("gmp"));
    }
}
