//! Documentation speaks to everyone, so it names no path that exists on one machine only.

use super::finding::{Finding, Tree};

/// How paths of somebody's machine begin.
const MACHINE_PATHS: &[&str] = &["/home/", "/root/", "/Users/", "/tmp/", "/work/", "/mnt/"];

/// Looks at every line of every Markdown file, and at the comments of every source file.
pub fn check(tree: &Tree) -> Result<Finding, String> {
    let (mut at, mut problems) = (0, Vec::new());
    let comment = |line: &&str| line.trim_start().starts_with("//");
    let prose = tree.markdown.iter().map(|file| (file, false));
    for (file, comments_only) in prose.chain(tree.rust.iter().map(|file| (file, true))) {
        for (number, line) in file.text.lines().enumerate() {
            if comments_only && !comment(&line) {
                continue;
            }
            at += 1;
            if let Some(path) = machine_path(line) {
                let place = format!("{}:{}", file.path.display(), number + 1);
                problems.push(format!("{place}: `{path}` is a path of one machine"));
            }
        }
    }
    Ok(Finding::Looked {
        at,
        what: "lines of prose",
        problems,
    })
}

/// The first path of one machine in a line. A path begins where nothing that belongs to a path stands before it, so
/// `examples/home/` and addresses on the web are none.
fn machine_path(line: &str) -> Option<&str> {
    let starts = |prefix| line.match_indices(prefix).map(|(index, _)| index);
    let index = MACHINE_PATHS
        .iter()
        .flat_map(|prefix| starts(*prefix))
        .filter(|&index| {
            let before = line[..index].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '/' | '.' | '-' | '_' | '~'))
        })
        .min()?;
    let rest = &line[index..];
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '`' | ')' | '"' | '\''));
    Some(&rest[..end.unwrap_or(rest.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_paths_of_machines_and_nothing_else() {
        assert_eq!(
            machine_path("see `/home/jo/x.md` now"),
            Some("/home/jo/x.md")
        );
        assert_eq!(machine_path("/tmp/heap.pb"), Some("/tmp/heap.pb"));
        assert_eq!(machine_path("(/root/a)"), Some("/root/a"));
        assert_eq!(machine_path("https://example.org/home/page"), None);
        assert_eq!(machine_path("crates/work/src and ./tmp/x"), None);
        assert_eq!(machine_path("/proc/self/task, /sys/fs/cgroup"), None);
    }
}
