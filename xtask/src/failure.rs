//! How a command ends: with an exit code, or with the reason why it could not do its work.

use std::process::ExitCode;

/// What a command returns: its exit code, or why it could not do its work at all.
pub type Outcome = Result<ExitCode, Failure>;

/// Why a command gave up.
pub enum Failure {
    /// It was called wrongly; the text says how, and how to call it.
    Usage(String),
    /// Something that it needs did not work.
    Broken(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Broken(why)
    }
}

impl From<std::io::Error> for Failure {
    fn from(why: std::io::Error) -> Failure {
        Failure::Broken(why.to_string())
    }
}

impl From<lexopt::Error> for Failure {
    fn from(why: lexopt::Error) -> Failure {
        Failure::Usage(why.to_string())
    }
}
