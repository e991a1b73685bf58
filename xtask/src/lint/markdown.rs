//! As much of Markdown as the checks need: links, headings' anchors, and code spans, each with its line.
//!
//! Fenced code is left out of everything; code spans are left out of links. This is not a Markdown parser: it reads
//! line by line, which suffices for the ways in which links and headings are written here, and keeps this tool free
//! of a large dependency.

use std::collections::{HashMap, HashSet};

/// What one Markdown file links to and offers.
#[derive(Debug, Default)]
pub struct Document {
    /// Targets of links and images, with the line of each, counted from 1.
    pub links: Vec<(usize, String)>,
    /// Labels that `[text][label]` uses and that no line defines.
    pub undefined: Vec<(usize, String)>,
    /// Anchors of the headings, by the rule that mdBook and GitHub share.
    pub anchors: HashSet<String>,
    /// Contents of the code spans.
    pub spans: Vec<(usize, String)>,
}

impl Document {
    /// Reads a file.
    pub fn parse(text: &str) -> Document {
        let mut document = Document::default();
        let mut defined = HashSet::new();
        let mut used = Vec::new();
        let mut seen = HashMap::new();
        let mut fence: Option<&str> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let trimmed = line.trim_start();
            if let Some(open) = fence {
                if trimmed.starts_with(open) {
                    fence = None;
                }
                continue;
            }
            fence = ["```", "~~~"].into_iter().find(|f| trimmed.starts_with(f));
            if fence.is_some() {
                continue;
            }
            if let Some(heading) = heading(line) {
                document.anchors.insert(unique(slug(heading), &mut seen));
            }
            let (prose, spans) = split_spans(line);
            document
                .spans
                .extend(spans.into_iter().map(|span| (number, span)));
            if let Some((label, target)) = definition(&prose) {
                defined.insert(label.to_lowercase());
                document.links.push((number, target.to_owned()));
            }
            document
                .links
                .extend(inline_links(&prose).map(|target| (number, target.to_owned())));
            used.extend(references(&prose).map(|label| (number, label.to_lowercase())));
        }
        used.retain(|(_, label)| !defined.contains(label));
        document.undefined = used;
        document
    }
}

/// The text of a heading that begins with one to six `#`.
fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level) && text.starts_with(' ')).then(|| text.trim())
}

/// The anchor of a heading: lower case, spaces as hyphens, and nothing but letters, digits, hyphens and underscores.
fn slug(heading: &str) -> String {
    let shown = without_targets(heading);
    let keep = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    };
    shown.to_lowercase().chars().filter_map(keep).collect()
}

/// Links of a heading are shown as their text.
fn without_targets(heading: &str) -> String {
    let mut shown = String::new();
    let mut rest = heading;
    while let Some(at) = rest.find("](") {
        shown.push_str(&rest[..at]);
        let target = &rest[at + 2..];
        rest = target.find(')').map_or("", |end| &target[end + 1..]);
    }
    shown + rest
}

/// The second heading with the same text gets `-1` at its end, the third `-2`.
fn unique(slug: String, seen: &mut HashMap<String, usize>) -> String {
    let times = seen.entry(slug.clone()).or_insert(0);
    *times += 1;
    match *times {
        1 => slug,
        n => format!("{slug}-{}", n - 1),
    }
}

/// The line with its code spans blanked out, and their contents.
fn split_spans(line: &str) -> (String, Vec<String>) {
    let (mut prose, mut spans) = (String::new(), Vec::new());
    let mut rest = line;
    while let Some(open) = rest.find('`') {
        let ticks = rest[open..].len() - rest[open..].trim_start_matches('`').len();
        let after = &rest[open + ticks..];
        let Some(close) = closing(after, ticks) else {
            break;
        };
        prose.push_str(&rest[..open]);
        prose.push(' ');
        spans.push(after[..close].trim().to_owned());
        rest = &after[close + ticks..];
    }
    prose.push_str(rest);
    (prose, spans)
}

/// Where the run of exactly `ticks` backticks begins that closes a span.
fn closing(text: &str, ticks: usize) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find('`') {
        let start = from + at;
        let run = text[start..].len() - text[start..].trim_start_matches('`').len();
        if run == ticks {
            return Some(start);
        }
        from = start + run;
    }
    None
}

/// `[label]: target`
fn definition(line: &str) -> Option<(&str, &str)> {
    let (label, target) = line.trim_start().strip_prefix('[')?.split_once("]:")?;
    let target = target.split_whitespace().next()?;
    (!label.contains(['[', ']'])).then_some((label, target.trim_matches(['<', '>'])))
}

/// The targets of `[text](target)` and `![text](target "title")`.
fn inline_links(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, _)| {
        let rest = &line[at + 2..];
        let mut depth = 0;
        let end = rest.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth < 0
        })?;
        let target = rest[..end].split_whitespace().next()?;
        Some(target.trim_matches(['<', '>']))
    })
}

/// The labels of `[text][label]`.
fn references(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("][").filter_map(|(at, _)| {
        let rest = &line[at + 2..];
        rest.find(']')
            .map(|end| &rest[..end])
            .filter(|label| !label.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_every_form() {
        let text = "\
[a](b.md) and ![c](d.png \"title\") `[not](this)`
```text
[nor](this)
```
[ref][label], [other][missing]

[label]: <e.md>
[with (parens)](f(1).md)
";
        let document = Document::parse(text);
        let links: Vec<_> = document
            .links
            .iter()
            .map(|(n, l)| (*n, l.as_str()))
            .collect();
        let expected = [(1, "b.md"), (1, "d.png"), (7, "e.md"), (8, "f(1).md")];
        assert_eq!(links, expected);
        assert_eq!(document.undefined, [(5, "missing".to_owned())]);
    }

    #[test]
    fn anchors_follow_the_rule() {
        let text =
            "# The `CURRENT` slot\n## G, M, P\n## G, M, P\n### [Go](https://go.dev)'s way\n#no\n";
        let anchors = Document::parse(text).anchors;
        let expected = ["the-current-slot", "g-m-p", "g-m-p-1", "gos-way"];
        assert_eq!(anchors, expected.map(str::to_owned).into());
    }

    #[test]
    fn spans_may_hold_backticks() {
        let (prose, spans) = split_spans("a `b` ``c ` d`` e ` f");
        assert_eq!(spans, ["b", "c ` d"]);
        assert_eq!(prose, "a     e ` f");
        assert_eq!(split_spans("no spans").1, Vec::<String>::new());
    }

    #[test]
    fn a_fence_ends_where_it_ends() {
        let text = "```rust\n# not a heading\n`x`\n```\n`y`\n";
        let document = Document::parse(text);
        assert!(document.anchors.is_empty());
        assert_eq!(document.spans, [(5, "y".to_owned())]);
    }
}
