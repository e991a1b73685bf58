//! The picture of the crates in the book is what would be drawn now.

use super::finding::{Finding, Tree};
use crate::diagram::{FILE, draw};

/// Draws it and compares.
pub fn check(tree: &Tree) -> Result<Finding, String> {
    let kept = std::fs::read_to_string(tree.root.join(FILE)).unwrap_or_default();
    let problem = (kept != draw()?)
        .then(|| format!("{FILE} is not up to date: `cargo xtask layers --diagram` writes it"));
    Ok(Finding::Looked {
        at: 1,
        what: "picture",
        problems: problem.into_iter().collect(),
    })
}
