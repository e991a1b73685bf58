//! The tree: where its root is, which files belong to it, and what cargo says of its packages.
//!
//! Files are found by walking the tree and not by asking git, so that the checks see what is new and work in a
//! tarball as well.

use crate::process;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tinyjson::JsonValue;

/// The root of the workspace.
pub fn root() -> PathBuf {
    // Cargo says at run time where the package is; what it said at compile time is older if the tree was moved.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .filter(|directory| directory.ends_with("xtask"))
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    match package.parent() {
        Some(root) => root.to_owned(),
        None => package,
    }
}

/// A cargo command that will run in the root, with the cargo that runs this tool.
pub fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// Can this tool be run at all? Tools that may be absent answer `--version`.
pub fn is_installed(program: &str, arguments: &[&str]) -> bool {
    let mut command = match program {
        "cargo" => cargo(None),
        other => Command::new(other),
    };
    command
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Every file under `root` whose name ends with one of `extensions`, in order of path, but for build output and
/// hidden folders.
///
/// # Errors
/// When a folder cannot be read; the text names it.
pub fn files(root: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let cannot = |why: std::io::Error| format!("cannot read {}: {why}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let kind = entry.file_type().map_err(cannot)?;
            let is_output = name == "target" || path.ends_with("docs/book");
            if kind.is_dir() && !is_output && !name.starts_with('.') {
                folders.push(path);
            } else if kind.is_file()
                && path
                    .extension()
                    .is_some_and(|e| extensions.iter().any(|x| e == *x))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A file with its path relative to the root, as checks report it.
pub struct Text {
    /// Where it is, relative to the root of the workspace.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// Reads every file that [`files`] finds.
///
/// # Errors
/// As [`files`], and when a file is not UTF-8.
pub fn texts(root: &Path, extensions: &[&str]) -> Result<Vec<Text>, String> {
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path)
            .map_err(|why| format!("cannot read {}: {why}", path.display()))?;
        let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
        Ok(Text { path, text })
    };
    files(root, extensions)?.into_iter().map(read).collect()
}

/// What `cargo metadata` says of the workspace on the platform that it is for.
///
/// # Errors
/// When cargo fails or says something that is not JSON.
pub fn metadata() -> Result<JsonValue, String> {
    let command = cargo([
        "metadata",
        "--format-version=1",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]);
    let ran = process::capture(command, Duration::from_secs(120), |_| ())?;
    if !ran.success() {
        return Err(format!("cargo metadata failed:\n{}", ran.output));
    }
    ran.stdout
        .parse()
        .map_err(|why| format!("cargo metadata did not answer with JSON: {why}"))
}

/// The value at a path of keys, if every step of the path is an object.
pub fn at<'a>(json: &'a JsonValue, path: &[&str]) -> Option<&'a JsonValue> {
    path.iter().try_fold(json, |json, &key| match json {
        JsonValue::Object(fields) => fields.get(key),
        _ => None,
    })
}

/// The text at a path of keys.
pub fn text_at<'a>(json: &'a JsonValue, path: &[&str]) -> Option<&'a str> {
    match at(json, path) {
        Some(JsonValue::String(text)) => Some(text),
        _ => None,
    }
}

/// The elements of the list at a path of keys; none if there is no such list.
pub fn list_at<'a>(json: &'a JsonValue, path: &[&str]) -> &'a [JsonValue] {
    match at(json, path) {
        Some(JsonValue::Array(elements)) => elements,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn the_walk_finds_sources_and_skips_output() {
        let files = files(&root(), &["rs"]).unwrap();
        assert!(files.iter().any(|f| f.ends_with("xtask/src/workspace.rs")));
        assert!(
            !files
                .iter()
                .any(|f| f.components().any(|c| c.as_os_str() == "target"))
        );
    }

    #[test]
    fn paths_into_json() {
        let json: JsonValue = r#"{"a":{"b":"c","d":[1,2]}}"#.parse().unwrap();
        assert_eq!(text_at(&json, &["a", "b"]), Some("c"));
        assert_eq!(list_at(&json, &["a", "d"]).len(), 2);
        assert_eq!(text_at(&json, &["a", "x"]), None);
        assert!(list_at(&json, &["a", "b", "c"]).is_empty());
    }
}
