//! What a source file must look like from the outside: it opens with a head, and it is short enough to be one thing.

use super::finding::{Finding, Tree};
use crate::workspace::Text;

/// Lines that a source file may have without giving a reason.
const LONGEST: usize = 600;

/// A line of the head that begins so gives the reason for a longer file.
const REASON: &str = "//! Length:";

/// Every source file opens with a `//!` head.
pub fn heads(tree: &Tree) -> Result<Finding, String> {
    Ok(judge(&tree.rust, |text| {
        let opens = text.starts_with("//!");
        (!opens).then(|| "does not open with a `//!` head".to_owned())
    }))
}

/// No source file is longer than [`LONGEST`], unless its head says why.
pub fn sizes(tree: &Tree) -> Result<Finding, String> {
    Ok(judge(&tree.rust, |text| {
        let lines = text.lines().count();
        let mut head = text.lines().take_while(|line| line.starts_with("//!"));
        let has_reason = head.any(|line| line.len() > REASON.len() && line.starts_with(REASON));
        (lines > LONGEST && !has_reason).then(|| {
            format!(
                "{lines} lines, and no line `{REASON} <why>` in its head; the limit is {LONGEST}"
            )
        })
    }))
}

fn judge(files: &[Text], mut problem: impl FnMut(&str) -> Option<String>) -> Finding {
    let problems = files
        .iter()
        .filter_map(|file| Some(format!("{}: {}", file.path.display(), problem(&file.text)?)))
        .collect();
    Finding::Looked {
        at: files.len(),
        what: "source files",
        problems,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(check: fn(&Tree) -> Result<Finding, String>, text: String) -> usize {
        let file = Text {
            path: "a.rs".into(),
            text,
        };
        let tree = Tree {
            root: "".into(),
            rust: vec![file],
            markdown: Vec::new(),
        };
        match check(&tree) {
            Ok(Finding::Looked { problems, .. }) => problems.len(),
            _ => panic!("the check did not look"),
        }
    }

    #[test]
    fn a_head_is_asked_for() {
        assert_eq!(problems(heads, "//! What it is.\n".to_owned()), 0);
        assert_eq!(problems(heads, "use std::fmt;\n//! Late.\n".to_owned()), 1);
        assert_eq!(problems(heads, String::new()), 1);
    }

    #[test]
    fn long_files_need_a_reason_in_the_head() {
        let body = "x\n".repeat(LONGEST);
        assert_eq!(problems(sizes, body.clone()), 0);
        assert_eq!(problems(sizes, format!("//! Head.\n{body}")), 1);
        assert_eq!(
            problems(sizes, format!("//! Head.\n//! Length: a table.\n{body}")),
            0
        );
        assert_eq!(
            problems(sizes, format!("//! Head.\n//! Length:\n{body}")),
            1
        );
        assert_eq!(
            problems(sizes, format!("//! Head.\n{body}//! Length: late.\n")),
            1
        );
    }
}
