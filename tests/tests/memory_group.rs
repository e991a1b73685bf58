//! A process in a group with a memory limit (cgroup) keeps within it, though nobody told it so.

use goruntime::gc::Gc;
use goruntime_tests::{child, is_child};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

const LIMIT: usize = 192 << 20;

/// A group of its own for the test, removed at the end.
struct Group(PathBuf);

impl Group {
    /// One in the group that this process is in; the reason, if the system does not let us.
    fn new() -> Result<Group, String> {
        let own = std::fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
        let first = own.lines().find_map(|line| line.split_once(":memory:"));
        let (parent, limit) = match (first, own.lines().find_map(|l| l.strip_prefix("0::"))) {
            (Some((_, path)), _) => (
                format!("/sys/fs/cgroup/memory{path}"),
                "memory.limit_in_bytes",
            ),
            (None, Some(path)) => (format!("/sys/fs/cgroup{path}"), "memory.max"),
            (None, None) => return Err("no memory group".to_owned()),
        };
        let at = Path::new(&parent).join(format!("goruntime-test-{}", std::process::id()));
        std::fs::create_dir(&at).map_err(|e| format!("{}: {e}", at.display()))?;
        let group = Group(at);
        std::fs::write(group.0.join(limit), LIMIT.to_string())
            .map_err(|e| format!("{limit}: {e}"))?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// With `GOGC=1000` the heap would grow to eleven times what lives in it, which is more than the group may have: then the kernel kills.
#[test]
fn the_groups_limit_is_kept() {
    if is_child() {
        let group = std::env::var("GROUP").unwrap();
        std::fs::write(
            Path::new(&group).join("cgroup.procs"),
            std::process::id().to_string(),
        )
        .unwrap();
        goruntime::go(churn).join().unwrap();
        return;
    }
    let group = match Group::new() {
        Ok(group) => group,
        Err(why) => return eprintln!("skipped: no group can be made: {why}"),
    };
    let path = group.0.display().to_string();
    let out = child(
        "the_groups_limit_is_kept",
        &[("GROUP", &path), ("GOGC", "1000")],
    );
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{:?}: {err}", out.status);
}

/// 24 MiB that live, and two gigabytes that do not.
fn churn() {
    let mut live = VecDeque::new();
    for n in 0..2_000_000u64 {
        live.push_back(Gc::new([n; 128]));
        if live.len() > 24_000 {
            let oldest = live.pop_front().unwrap();
            assert_eq!(oldest[100], n - 24_000);
        }
    }
    assert!(goruntime::metrics::snapshot().gc_cycles > 3);
}
