//! The checks that the toolchain does: rustfmt, clippy and rustdoc, read through cargo's JSON messages.
//!
//! Which lints are denied is said in the root manifest; here every remaining warning is denied as well.

use super::finding::{Finding, Tree};
use crate::console;
use crate::process::{self, Captured};
use crate::workspace::{self, text_at};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tinyjson::JsonValue;

/// A build that takes longer than this is stuck.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Packages that are no members of the workspace, so that what only they need stays out of its lock file.
const APART: &[&str] = &["tests/bench", "tests/crates", "tests/fuzz"];

/// rustfmt would change nothing.
pub fn format(tree: &Tree) -> Result<Finding, String> {
    if !workspace::is_installed("cargo", &["fmt", "--version"]) {
        return Ok(Finding::Skipped(
            "rustfmt is not installed; `rustup component add rustfmt` installs it",
        ));
    }
    let mut problems: Vec<String> = Vec::new();
    for package in std::iter::once(&".").chain(APART) {
        let mut command = workspace::cargo(["fmt", "--all", "--", "--check", "-l"]);
        command.current_dir(tree.root.join(package));
        let ran = process::capture(command, LIMIT, |_| ())?;
        let before = problems.len();
        problems.extend(ran.stdout.lines().map(|path| {
            let path = Path::new(path);
            let path = path.strip_prefix(&tree.root).unwrap_or(path);
            format!(
                "{} (`cargo fmt --all` in {package} formats it)",
                path.display()
            )
        }));
        if !ran.success() && problems.len() == before {
            problems.push(ran.output);
        }
    }
    Ok(Finding::Looked {
        at: tree.rust.len(),
        what: "source files",
        problems,
    })
}

/// No warning in any target of the workspace.
pub fn clippy(tree: &Tree) -> Result<Finding, String> {
    run_clippy(tree, &["--workspace"])
}

/// No warning in the targets that the thread-backed engine changes.
pub fn clippy_thread_engine(tree: &Tree) -> Result<Finding, String> {
    let features = "goruntime/thread-engine,goruntime-tests/thread-engine";
    run_clippy(
        tree,
        &[
            "-p",
            "goruntime",
            "-p",
            "goruntime-tests",
            "--features",
            features,
        ],
    )
}

/// No warning in what the benchmarks' package builds without optional dependencies. (The fuzz targets take in sources of other packages, whose
/// own lints look at them.)
pub fn clippy_contestants(tree: &Tree) -> Result<Finding, String> {
    let manifest = tree
        .root
        .join("tests/bench/Cargo.toml")
        .display()
        .to_string();
    let target = tree.root.join("target/bench/lint").display().to_string();
    run_clippy(
        tree,
        &["--manifest-path", &manifest, "--target-dir", &target],
    )
}

fn run_clippy(tree: &Tree, what: &[&str]) -> Result<Finding, String> {
    if !workspace::is_installed("cargo", &["clippy", "--version"]) {
        return Ok(Finding::Skipped(
            "clippy is not installed; `rustup component add clippy` installs it",
        ));
    }
    let mut command =
        workspace::cargo(["clippy", "--all-targets", "--keep-going", message_format()]);
    command.args(what).args(["--", "-D", "warnings"]);
    judge(tree, command, "targets")
}

/// No public item without documentation, and no link between items that leads nowhere. Private items are read as well,
/// because heads of modules speak of them; for the same reason public text may name what is private.
pub fn rustdoc(tree: &Tree) -> Result<Finding, String> {
    let mut command = workspace::cargo([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    command.args(["--keep-going", message_format()]).env(
        "RUSTDOCFLAGS",
        "-D warnings -D missing_docs -D rustdoc::broken_intra_doc_links \
         -A rustdoc::private_intra_doc_links",
    );
    judge(tree, command, "targets")
}

fn message_format() -> &'static str {
    match console::is_terminal() {
        true => "--message-format=json-diagnostic-rendered-ansi",
        false => "--message-format=json",
    }
}

fn judge(tree: &Tree, command: Command, what: &'static str) -> Result<Finding, String> {
    let ran = process::capture(command, LIMIT, |_| ())?;
    let (at, problems) = read(&tree.root, &ran);
    Ok(Finding::Looked { at, what, problems })
}

/// Counts the targets of the workspace that cargo reports on, and collects what the compiler says against them.
fn read(root: &Path, ran: &Captured) -> (usize, Vec<String>) {
    let (mut at, mut problems) = (0, Vec::new());
    for line in ran.stdout.lines().filter(|line| line.starts_with('{')) {
        let Ok(message) = line.parse::<JsonValue>() else {
            continue;
        };
        let source = text_at(&message, &["target", "src_path"]).unwrap_or("");
        match text_at(&message, &["reason"]) {
            Some("compiler-artifact") if Path::new(source).starts_with(root) => at += 1,
            Some("compiler-message") => {
                let level = text_at(&message, &["message", "level"]).unwrap_or("");
                let rendered = text_at(&message, &["message", "rendered"]).unwrap_or("");
                // A library and its tests are two targets with the same sources, so the same words come twice.
                let is_news = !problems.iter().any(|known| known == rendered);
                // What has no place in a source is the compiler's summary of what it said before.
                let has_place = !workspace::list_at(&message, &["message", "spans"]).is_empty();
                if matches!(level, "error" | "warning") && has_place && is_news {
                    problems.push(rendered.to_owned());
                }
            }
            _ => {}
        }
    }
    if !ran.success() && problems.is_empty() {
        let reason = ran.output.lines().filter(|line| !line.starts_with('{'));
        problems.push(reason.collect::<Vec<_>>().join("\n"));
    }
    if ran.status.is_none() {
        problems.push(format!("killed after {} s", ran.took.as_secs()));
    }
    (at.max(problems.len()), problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn ran(code: i32, stdout: &str, stderr: &str) -> Captured {
        Captured {
            status: Some(ExitStatus::from_raw(code << 8)),
            stdout: stdout.to_owned(),
            output: format!("{stdout}{stderr}"),
            took: Duration::ZERO,
        }
    }

    const ARTIFACT: &str = r#"{"reason":"compiler-artifact","target":{"src_path":"/r/a.rs"}}"#;
    const FOREIGN: &str = r#"{"reason":"compiler-artifact","target":{"src_path":"/x/a.rs"}}"#;
    const ERROR: &str = r#"{"reason":"compiler-message","target":{"src_path":"/r/a.rs"},"message":{"level":"error","rendered":"E","spans":[{}]}}"#;
    const SUMMARY: &str = r#"{"reason":"compiler-message","target":{"src_path":"/r/a.rs"},"message":{"level":"error","rendered":"S","spans":[]}}"#;

    #[test]
    fn counts_targets_of_the_workspace_and_collects_errors_once() {
        let lines = [ARTIFACT, FOREIGN, ERROR, ERROR, SUMMARY, ARTIFACT].join("\n");
        let (at, problems) = read(Path::new("/r"), &ran(101, &lines, ""));
        assert_eq!((at, problems), (2, vec!["E".to_owned()]));
    }

    #[test]
    fn a_failure_without_a_message_is_a_problem() {
        let (_, problems) = read(
            Path::new("/r"),
            &ran(101, ARTIFACT, "\nerror: no such command"),
        );
        assert_eq!(problems, ["error: no such command"]);
        assert!(
            read(Path::new("/r"), &ran(0, ARTIFACT, "warning: x"))
                .1
                .is_empty()
        );
    }
}
