//! The picture of the workspace's crates in the book: which uses which, from what their manifests say.
//!
//! Every crate stands one row below the lowest of its users, and one that nobody uses right above the highest of those that it uses. An edge that follows from others - whoever uses goruntime uses what goruntime uses - is left out; one that
//! exists in some builds only is dashed. `cargo xtask layers --diagram` writes the picture, and the lint says when it is not up to date.

use crate::svg::{Anchor, Svg, escape};
use crate::workspace::{self, list_at, text_at};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tinyjson::JsonValue;

/// Where the picture is, relative to the root.
pub const FILE: &str = "docs/src/architecture/crates.svg";

const BOX: (f64, f64) = (150.0, 92.0);
const GAP: (f64, f64) = (16.0, 56.0);
const MARGIN: f64 = 10.0;
/// Letters in a line of a description.
const LINE: usize = 24;
/// Lines of it that there is room for.
const LINES: usize = 4;

/// A crate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Crate {
    description: String,
    /// What it uses, and whether that is so in every build.
    uses: BTreeMap<String, bool>,
}

type Graph = BTreeMap<String, Crate>;

/// Draws the picture.
///
/// # Errors
/// When cargo does not answer.
pub fn draw() -> Result<String, String> {
    Ok(render(&read(&workspace::metadata()?)))
}

/// Where it belongs.
pub fn path() -> PathBuf {
    workspace::root().join(FILE)
}

/// The members of the workspace that use each other; tests' dependencies do not count.
fn read(metadata: &JsonValue) -> Graph {
    let ids: BTreeSet<&str> = list_at(metadata, &["workspace_members"])
        .iter()
        .filter_map(|id| match id {
            JsonValue::String(id) => Some(id.as_str()),
            _ => None,
        })
        .collect();
    let members: Vec<&JsonValue> = list_at(metadata, &["packages"])
        .iter()
        .filter(|package| text_at(package, &["id"]).is_some_and(|id| ids.contains(id)))
        .collect();
    let names: BTreeSet<&str> = members
        .iter()
        .filter_map(|member| text_at(member, &["name"]))
        .collect();
    let mut graph = Graph::new();
    for member in &members {
        let name = text_at(member, &["name"]).unwrap_or_default();
        let mut uses = BTreeMap::new();
        for dependency in list_at(member, &["dependencies"]) {
            let on = text_at(dependency, &["name"]).unwrap_or_default();
            let is_use = names.contains(on) && on != name;
            if is_use && text_at(dependency, &["kind"]) != Some("dev") {
                let always = text_at(dependency, &["target"]).is_none();
                *uses.entry(on.to_owned()).or_default() |= always;
            }
        }
        let description = text_at(member, &["description"]).unwrap_or_default();
        let description = description.to_owned();
        graph.insert(name.to_owned(), Crate { description, uses });
    }
    let used: BTreeSet<String> = graph
        .values()
        .flat_map(|c| c.uses.keys().cloned())
        .collect();
    graph.retain(|name, c| used.contains(name) || !c.uses.is_empty());
    graph
}

/// The crates by row, the highest first.
fn rows(graph: &Graph) -> Vec<Vec<&str>> {
    let mut row: BTreeMap<&str, usize> = graph.keys().map(|name| (name.as_str(), 0)).collect();
    // Manifests have no circles, so that this ends.
    loop {
        let before = row.clone();
        for (name, c) in graph {
            for used in c.uses.keys() {
                let below = row[name.as_str()] + 1;
                if let Some(at) = row.get_mut(used.as_str()) {
                    *at = below.max(*at);
                }
            }
        }
        if row == before {
            break;
        }
    }
    let used: BTreeSet<&String> = graph.values().flat_map(|c| c.uses.keys()).collect();
    for (name, c) in graph.iter().filter(|(name, _)| !used.contains(name)) {
        let highest = c.uses.keys().map(|used| row[used.as_str()]).min();
        row.insert(name, highest.map_or(0, |highest| highest - 1));
    }
    let most = row.values().max().map_or(0, |most| most + 1);
    let mut rows = vec![Vec::new(); most];
    for (name, at) in row {
        rows[at].push(name);
    }
    rows
}

/// What is used directly, without what follows from other uses.
fn direct<'a>(graph: &'a Graph, name: &str) -> impl Iterator<Item = (&'a str, bool)> {
    let uses = &graph[name].uses;
    let mut indirect = BTreeSet::new();
    let mut open: Vec<&str> = uses.keys().map(String::as_str).collect();
    while let Some(used) = open.pop() {
        for further in graph.get(used).into_iter().flat_map(|c| c.uses.keys()) {
            if indirect.insert(further.as_str()) {
                open.push(further);
            }
        }
    }
    uses.iter()
        .filter(move |(used, _)| !indirect.contains(used.as_str()))
        .map(|(used, always)| (used.as_str(), *always))
}

fn render(graph: &Graph) -> String {
    let rows = rows(graph);
    let widest = rows.iter().map(Vec::len).max().unwrap_or(0) as f64;
    let width = 2.0 * MARGIN + widest * (BOX.0 + GAP.0) - GAP.0;
    let height = 2.0 * MARGIN + rows.len() as f64 * (BOX.1 + GAP.1) - GAP.1;
    let mut place = BTreeMap::new();
    for (row, y) in rows.iter().zip(0..) {
        let used = row.len() as f64 * (BOX.0 + GAP.0) - GAP.0;
        for (name, x) in row.iter().zip(0..) {
            let left = (width - used) / 2.0 + f64::from(x) * (BOX.0 + GAP.0);
            let top = MARGIN + f64::from(y) * (BOX.1 + GAP.1);
            place.insert(*name, (left, top));
        }
    }
    let mut svg = Svg::new(width, height, "The crates, each above those that it uses");
    for (name, &(left, top)) in &place {
        for (used, always) in direct(graph, name) {
            let (to_left, to_top) = place[used];
            let from = (left + BOX.0 / 2.0, top + BOX.1);
            let to = (to_left + BOX.0 / 2.0, to_top);
            let middle = (from.1 + to.1) / 2.0;
            let dashes = if always {
                ""
            } else {
                " stroke-dasharray=\"4 4\""
            };
            svg.put(&format!(
                "<path class=\"edge\"{dashes} d=\"M{:.1} {:.1}C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}\"/>",
                from.0, from.1, from.0, to.0, to.0, to.1
            ));
        }
    }
    for (name, &(left, top)) in &place {
        svg.put(&format!(
            "<rect class=\"box\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"4\"/>",
            BOX.0, BOX.1
        ));
        let middle = left + BOX.0 / 2.0;
        svg.put(&format!(
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-weight=\"bold\">{}</text>",
            top + 18.0,
            escape(name)
        ));
        svg.put("<g font-size=\"10.5\">");
        for (line, n) in wrapped(&graph[*name].description).iter().zip(0..) {
            svg.text(
                middle,
                top + 36.0 + 14.0 * f64::from(n),
                Anchor::Middle,
                line,
            );
        }
        svg.put("</g>");
    }
    svg.finish()
}

/// The text in lines; what there is no room for is cut off at a word.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let room = line.is_empty() || line.chars().count() + word.chars().count() < LINE;
        if !room && lines.len() + 1 == LINES {
            line.push_str(" …");
            break;
        }
        if !room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Graph {
        let mut graph = Graph::new();
        let mut add = |name: &str, uses: &[(&str, bool)]| {
            let uses = uses
                .iter()
                .map(|(name, always)| ((*name).to_owned(), *always));
            graph.insert(
                name.to_owned(),
                Crate {
                    description: "one two three four five six".to_owned(),
                    uses: uses.collect(),
                },
            );
        };
        add("top", &[("middle", true), ("low", true)]);
        add("middle", &[("low", true), ("explorer", false)]);
        add("low", &[]);
        add("explorer", &[]);
        add("beside", &[("low", true)]);
        graph
    }

    #[test]
    fn a_crate_stands_below_all_of_its_users() {
        assert_eq!(
            rows(&sample()),
            [
                vec!["top"],
                vec!["beside", "middle"],
                vec!["explorer", "low"]
            ]
        );
    }

    #[test]
    fn what_follows_from_other_edges_is_not_drawn() {
        let graph = sample();
        let uses: Vec<_> = direct(&graph, "top").collect();
        assert_eq!(uses, [("middle", true)]);
        let svg = render(&graph);
        assert_eq!(svg.matches("class=\"edge\"").count(), 4);
        assert_eq!(svg.matches("stroke-dasharray").count(), 1);
        assert_eq!(svg.matches("<rect").count(), 5);
    }

    #[test]
    fn long_descriptions_are_cut() {
        let lines = wrapped(&"word ".repeat(40));
        assert_eq!(lines.len(), LINES);
        assert!(lines[LINES - 1].ends_with('…'));
        assert_eq!(wrapped("short"), ["short"]);
    }

    #[test]
    fn the_workspace_is_drawn() {
        let graph = read(&workspace::metadata().unwrap());
        assert!(graph["goruntime"].uses.contains_key("gomem"));
        assert!(
            !graph.contains_key("xtask"),
            "nobody uses it, and it uses nobody"
        );
    }
}
