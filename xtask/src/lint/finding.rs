//! What a check is given, and what it answers.

use crate::workspace::Text;
use std::path::PathBuf;

/// What every check may look at.
pub struct Tree {
    /// The root of the workspace.
    pub root: PathBuf,
    /// Every Rust source.
    pub rust: Vec<Text>,
    /// Every Markdown file.
    pub markdown: Vec<Text>,
}

/// What a check found.
pub enum Finding {
    /// It looked at so many things of a kind and found these problems.
    Looked {
        /// How many.
        at: usize,
        /// Of what, in the plural.
        what: &'static str,
        /// Each with its place.
        problems: Vec<String>,
    },
    /// It could not be done; the text says what to install.
    Skipped(&'static str),
}
