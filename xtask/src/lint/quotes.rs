//! Code that the book quotes is in the file that it is from.
//!
//! A fenced block whose info string has `from=PATH` is a quotation. Its lines must stand in that file one after the other, indentation and empty lines aside; a line `// ...` stands for
//! any number that are left out. So what a page shows is what is compiled and tested.

use super::finding::{Finding, Tree};
use std::path::Path;

const LEFT_OUT: &str = "// ...";

/// A quotation: the line of its fence, the file, the lines.
struct Quote<'t> {
    line: usize,
    from: &'t str,
    lines: Vec<&'t str>,
}

/// Looks for every quotation in its file.
pub fn check(tree: &Tree) -> Result<Finding, String> {
    let (mut at, mut problems) = (0, Vec::new());
    for page in &tree.markdown {
        for quote in quotes(&page.text) {
            at += 1;
            let file = tree
                .rust
                .iter()
                .find(|file| file.path == Path::new(quote.from));
            let why = match file {
                None => format!("there is no {}", quote.from),
                Some(file) if !has(&file.text, &quote.lines) => {
                    format!("{} has no such lines", quote.from)
                }
                Some(_) => continue,
            };
            problems.push(format!("{}:{}: {why}", page.path.display(), quote.line));
        }
    }
    Ok(Finding::Looked {
        at,
        what: "quotations",
        problems,
    })
}

fn quotes(text: &str) -> Vec<Quote<'_>> {
    let mut quotes: Vec<Quote<'_>> = Vec::new();
    let (mut open, mut is_quote) = (false, false);
    for (line, content) in (1..).zip(text.lines().map(str::trim)) {
        if let Some(info) = content.strip_prefix("```") {
            open = !open;
            let from = info.split(',').find_map(|word| word.strip_prefix("from="));
            is_quote = open && from.is_some();
            if let (true, Some(from)) = (is_quote, from) {
                let lines = Vec::new();
                quotes.push(Quote { line, from, lines });
            }
        } else if is_quote
            && !content.is_empty()
            && let Some(quote) = quotes.last_mut()
        {
            quote.lines.push(content);
        }
    }
    quotes
}

/// Whether the lines stand in the text, in order, and one after the other but where some are left out.
fn has(text: &str, lines: &[&str]) -> bool {
    let all: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let mut rest = &all[..];
    for part in lines
        .split(|line| *line == LEFT_OUT)
        .filter(|part| !part.is_empty())
    {
        match rest.windows(part.len()).position(|window| window == part) {
            Some(found) => rest = &rest[found + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Text;

    const FILE: &str = "fn a() {\n    one();\n\n    two();\n    three();\n}\n";

    fn problems(quoted: &str) -> Vec<String> {
        let text = |path: &str, text: String| Text {
            path: path.into(),
            text,
        };
        let page =
            format!("Text.\n\n```rust,ignore,from=a.rs\n{quoted}\n```\n\n```text\nno quote\n```\n");
        let tree = Tree {
            root: "".into(),
            rust: vec![text("a.rs", FILE.to_owned())],
            markdown: vec![text("page.md", page)],
        };
        match check(&tree) {
            Ok(Finding::Looked {
                at: 1, problems, ..
            }) => problems,
            _ => panic!("the check did not look"),
        }
    }

    #[test]
    fn lines_of_the_file_in_order_are_a_quotation() {
        for quoted in [
            "one();\ntwo();",
            "  two();\n  three();",
            "fn a() {\n    // ...\n    three();\n}",
        ] {
            assert!(problems(quoted).is_empty(), "{quoted}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for quoted in ["one();\nthree();", "two();\n// ...\none();", "four();"] {
            assert_eq!(
                problems(quoted),
                ["page.md:3: a.rs has no such lines"],
                "{quoted}"
            );
        }
    }
}
