//! What cannot be kept in the collected heap is a compile error that says why, and what to do instead.
//!
//! Each program in `trace_refusals/` is compiled on its own, and must not be. Its comments with `//~` are the messages, word by word, that the
//! errors have to contain; what else the compiler says is its own business, and changes with its version.

#![cfg(not(feature = "system-allocator"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package outside of the workspace whose programs are the cases.
fn package(cases: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trace_refusals");
    let programs = package.join("src/bin");
    let _ = fs::remove_dir_all(&programs);
    fs::create_dir_all(&programs).unwrap();
    for case in fs::read_dir(cases).unwrap() {
        let case = case.unwrap();
        fs::copy(case.path(), programs.join(case.file_name())).unwrap();
    }
    let runtime = root.join("crates/goruntime");
    let manifest = format!(
        "[package]\nname = \"trace_refusals\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\ngoruntime = {{ path = {runtime:?} }}\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    package
}

/// What the compiler says of a program that it does not accept.
fn refusal(package: &Path, program: &str) -> String {
    let out = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--bin", program])
        .current_dir(package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success(), "{program} compiles");
    text
}

#[test]
fn each_says_why() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trace_refusals");
    let package = package(&cases);
    let mut tried = 0;
    for case in fs::read_dir(&cases).unwrap() {
        let path = case.unwrap().path();
        let source = fs::read_to_string(&path).unwrap();
        let expected: Vec<_> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("//~ "))
            .collect();
        assert!(!expected.is_empty(), "{path:?} expects nothing");
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = refusal(&package, name);
        // Long messages are broken into lines.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        for message in expected {
            assert!(
                words(&text).contains(&words(message)),
                "{name}: not a word of\n  {message}\nin\n{text}"
            );
        }
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
}
