//! The memory group (cgroup) that the process is in: its limit, what is used of it, and how long its tasks have stalled for want of memory.
//!
//! Files of the kernel's, of either version of cgroups: they are found at the start, kept open, and read again at each look, which allocates nothing and takes
//! some ten microseconds. A process may be in a group within a group; the one whose limit is the smallest is looked at.
//!
//! Invariant: what cannot be found or read stands for "no limit" and "no stalls"; nothing here fails.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What is known of the group at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMemory {
    /// Bytes in use, without what the kernel can drop at once (pages of files that were not used lately).
    pub used: u64,
    /// Bytes that may be in use; `u64::MAX` for no limit.
    pub limit: u64,
    /// Nanoseconds for which some task has stalled for want of memory.
    pub stalled: u64,
}

/// The files, open.
#[derive(Debug)]
pub struct MemoryGroup {
    limit: Option<File>,
    usage: Option<File>,
    statistics: Option<File>,
    pressure: Option<File>,
    version: &'static Version,
}

/// What differs between the versions.
#[derive(Debug)]
struct Version {
    /// In the mount of cgroups.
    mount: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// The line of `memory.stat` that tells of droppable pages.
    droppable: &'static [u8],
}

const V1: Version = Version {
    mount: "memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    droppable: b"total_inactive_file",
};

const V2: Version = Version {
    mount: "",
    limit: "memory.max",
    usage: "memory.current",
    droppable: b"inactive_file",
};

/// What the first version has for "no limit" depends on the page size; nothing real is as large.
const UNLIMITED: u64 = 1 << 60;

impl MemoryGroup {
    /// The group of this process; `None` if there is neither a limit nor a count of stalls.
    pub fn find() -> Option<MemoryGroup> {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        MemoryGroup::find_in(
            Path::new("/sys/fs/cgroup"),
            &own,
            Path::new("/proc/pressure/memory"),
        )
    }

    /// The same, with cgroups mounted at `mount`, `own` as the content of `/proc/self/cgroup`, and the machine's count of stalls.
    fn find_in(mount: &Path, own: &str, machine: &Path) -> Option<MemoryGroup> {
        let second = own.lines().find_map(|line| line.strip_prefix("0::"));
        let first = own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers
                .split(',')
                .any(|c| c == "memory")
                .then_some(path)
        });
        let group = [(&V2, second), (&V1, first)]
            .into_iter()
            .filter_map(|(version, path)| {
                let (group, limit) = smallest(&mount.join(version.mount), path?, version)?;
                Some((version, group, limit))
            })
            .min_by_key(|(_, _, limit)| *limit);
        let Some((version, group, _)) = group else {
            let pressure = Some(File::open(machine).ok()?);
            return Some(MemoryGroup {
                limit: None,
                usage: None,
                statistics: None,
                pressure,
                version: &V2,
            });
        };
        let open = |name: &str| File::open(group.join(name)).ok();
        Some(MemoryGroup {
            limit: open(version.limit),
            usage: open(version.usage),
            statistics: open("memory.stat"),
            pressure: open("memory.pressure").or_else(|| File::open(machine).ok()),
            version,
        })
    }

    /// How things are.
    pub fn look(&self) -> GroupMemory {
        let number = |file: &Option<File>| read(file, parse_number);
        let droppable = read(&self.statistics, |text| value(text, self.version.droppable));
        let stalled = read(&self.pressure, parse_stalled).unwrap_or(0);
        GroupMemory {
            used: number(&self.usage)
                .unwrap_or(0)
                .saturating_sub(droppable.unwrap_or(0)),
            limit: number(&self.limit).unwrap_or(u64::MAX),
            stalled,
        }
    }
}

/// Of the group at `path` and those that it is in, the one with the smallest limit, if any has one.
fn smallest(mount: &Path, path: &str, version: &Version) -> Option<(PathBuf, u64)> {
    groups(mount, path)
        .into_iter()
        .filter_map(|group| {
            let text = std::fs::read(group.join(version.limit)).ok()?;
            let limit = parse_number(&text).filter(|&limit| limit < UNLIMITED)?;
            Some((group, limit))
        })
        .min_by_key(|(_, limit)| *limit)
}

/// The group at `path` below `mount`, and those that it is in.
pub(super) fn groups(mount: &Path, path: &str) -> Vec<PathBuf> {
    // In a container the path may be that of the host, and the mount that of the group itself.
    let below = mount.join(path.trim_start_matches('/'));
    let start = if below.is_dir() { &below } else { mount };
    let all = start
        .ancestors()
        .take_while(|group| group.starts_with(mount));
    all.map(Path::to_owned).collect()
}

/// Files that stand for the kernel's, in a folder of their own.
#[cfg(test)]
pub(super) mod fake {
    use std::fs;
    use std::path::PathBuf;

    pub(in crate::world) struct Fake(pub(in crate::world) PathBuf);

    impl Fake {
        pub(in crate::world) fn new(name: &str) -> Fake {
            let root = std::env::temp_dir().join(format!("cgroup-{name}-{}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Fake(root)
        }

        pub(in crate::world) fn write(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// What `parse` makes of the file.
fn read(file: &Option<File>, parse: impl FnOnce(&[u8]) -> Option<u64>) -> Option<u64> {
    let mut buffer = [0; 4096];
    let n = file.as_ref()?.read_at(&mut buffer, 0).ok()?;
    parse(&buffer[..n])
}

/// A number on its own; what is none (`max`) is no limit.
fn parse_number(text: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()?;
    Some(if number < UNLIMITED { number } else { u64::MAX })
}

/// The number in the line that begins with `key`.
fn value(text: &[u8], key: &[u8]) -> Option<u64> {
    text.split(|&b| b == b'\n').find_map(|line| {
        let rest = line.strip_prefix(key)?;
        rest.starts_with(b" ").then(|| parse_number(rest)).flatten()
    })
}

/// Nanoseconds, from `some avg10=0.00 avg60=0.00 avg300=0.00 total=3662460`.
fn parse_stalled(text: &[u8]) -> Option<u64> {
    let line = text.split(|&b| b == b'\n').next()?;
    let total = line
        .split(|&b| b == b' ')
        .find_map(|word| word.strip_prefix(b"total="))?;
    parse_number(total)?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::fake::Fake;
    use super::*;

    impl Fake {
        fn find(&self, own: &str) -> Option<MemoryGroup> {
            MemoryGroup::find_in(&self.0.join("cgroup"), own, &self.0.join("pressure"))
        }
    }

    #[test]
    fn the_smallest_limit_of_a_group_and_those_around_it() {
        let fake = Fake::new("nested");
        fake.write("cgroup/a/b/memory.max", "max\n");
        fake.write("cgroup/a/memory.max", "1000000\n");
        fake.write("cgroup/a/memory.current", "900000\n");
        fake.write(
            "cgroup/a/memory.stat",
            "anon 5\ninactive_file 250000\nactive_file 7\n",
        );
        fake.write(
            "cgroup/a/memory.pressure",
            "some avg10=1.00 avg60=0.00 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
        );
        let group = fake.find("0::/a/b\n").unwrap();
        let expected = GroupMemory {
            used: 650_000,
            limit: 1_000_000,
            stalled: 42_000,
        };
        assert_eq!(group.look(), expected);
        fake.write("cgroup/a/memory.max", "2000000\n");
        assert_eq!(group.look().limit, 2_000_000, "limits may change");
    }

    #[test]
    fn the_first_version_seen_from_inside_a_container() {
        let fake = Fake::new("first");
        fake.write("cgroup/memory/memory.limit_in_bytes", "4096000\n");
        fake.write("cgroup/memory/memory.usage_in_bytes", "4000000\n");
        fake.write(
            "cgroup/memory/memory.stat",
            "inactive_file 1\ntotal_inactive_file 1000000\n",
        );
        let group = fake
            .find("5:cpu:/x\n4:memory:/docker/of-the-host\n0::/\n")
            .unwrap();
        let expected = GroupMemory {
            used: 3_000_000,
            limit: 4_096_000,
            stalled: 0,
        };
        assert_eq!(group.look(), expected);
    }

    #[test]
    fn no_limit_leaves_the_machines_stalls() {
        let fake = Fake::new("none");
        assert!(fake.find("0::/\n").is_none());
        fake.write(
            "cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        fake.write(
            "pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
        );
        let group = fake.find("4:memory:/\n0::/\n").unwrap();
        let expected = GroupMemory {
            used: 0,
            limit: u64::MAX,
            stalled: 3000,
        };
        assert_eq!(group.look(), expected);
    }

    proptest::proptest! {
        #[test]
        fn nonsense_is_no_number(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
            let _ = (parse_number(&text), value(&text, b"inactive_file"), parse_stalled(&text));
        }
    }
}
