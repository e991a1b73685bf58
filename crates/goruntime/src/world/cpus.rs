//! How many processors the process may use: what its affinity mask and the quotas of its groups (cgroups, of either version) leave it.
//!
//! std has the same ([`std::thread::available_parallelism`]), from which it is taken at the start; it is asked again every second, by a thread that allocates nothing, so
//! here the files are found once, and looked at again with plain system calls. Of groups within groups the smallest quota holds. A quota that is no whole number of processors is
//! rounded down, to one at least, as std does.
//!
//! Invariant: what cannot be found or read stands for "no quota"; nothing here fails.

use super::cgroup::groups;
use super::threads::read_file;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// The files that quotas are read from.
#[derive(Debug, Default)]
pub struct Cpus {
    quotas: Vec<Quota>,
}

#[derive(Debug)]
enum Quota {
    /// `cpu.max`: microseconds of processor time, or `max`, in so many microseconds.
    Second(CString),
    /// `cpu.cfs_quota_us`, -1 for none, and `cpu.cfs_period_us`.
    First(CString, CString),
}

impl Cpus {
    /// Those of this process.
    pub fn find() -> Cpus {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Cpus::find_in(Path::new("/sys/fs/cgroup"), &own)
    }

    /// The same, with cgroups mounted at `mount`, and `own` as the content of `/proc/self/cgroup`.
    fn find_in(mount: &Path, own: &str) -> Cpus {
        let mut quotas = Vec::new();
        for line in own.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            if controllers.is_empty() {
                for group in groups(mount, path) {
                    quotas.extend(file(&group, "cpu.max").map(Quota::Second));
                }
            } else if controllers.split(',').any(|c| c == "cpu") {
                let mounts = [controllers, "cpu"].map(|name| mount.join(name));
                let Some(mount) = mounts.iter().find(|mount| mount.is_dir()) else {
                    continue;
                };
                for group in groups(mount, path) {
                    let files =
                        file(&group, "cpu.cfs_quota_us").zip(file(&group, "cpu.cfs_period_us"));
                    quotas.extend(files.map(|(quota, period)| Quota::First(quota, period)));
                }
            }
        }
        Cpus { quotas }
    }

    /// How many there are now; at least one. Allocates nothing.
    pub fn allowed(&self) -> usize {
        let quotas = self.quotas.iter().filter_map(Quota::read);
        quotas.fold(in_mask(), usize::min).max(1)
    }
}

impl Quota {
    /// Whole processors; `None` for no quota.
    fn read(&self) -> Option<usize> {
        let (mut first, mut second) = ([0; 64], [0; 64]);
        let mut numbers = match self {
            Quota::Second(path) => {
                let n = read_file(path, &mut first).ok()?;
                first[..n].split(|&b| b == b' ').map(number)
            }
            Quota::First(quota, period) => {
                let quota = read_file(quota, &mut first).ok()?;
                let period = read_file(period, &mut second).ok()?;
                let (quota, period) = (number(&first[..quota])?, number(&second[..period])?);
                return quota.checked_div(period);
            }
        };
        numbers.next()??.checked_div(numbers.next()??)
    }
}

/// A number on its own; what is none (`max`, -1) is no quota.
fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

fn file(group: &Path, name: &str) -> Option<CString> {
    let path = group.join(name);
    let exists = path.is_file();
    CString::new(path.into_os_string().into_vec())
        .ok()
        .filter(|_| exists)
}

/// Processors in the affinity mask of the calling thread.
fn in_mask() -> usize {
    /// Of 8,192 processors, the most that Linux can be built for.
    const WORDS: usize = 128;
    let mut mask = [0u64; WORDS];
    // SAFETY: the kernel writes at most so many bytes; any number is a valid word.
    let failed =
        unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) };
    match failed {
        0 => mask.iter().map(|word| word.count_ones() as usize).sum(),
        _ => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cgroup::fake::Fake;
    use super::*;

    impl Fake {
        fn quota(&self, own: &str) -> Option<usize> {
            let found = Cpus::find_in(&self.0, own);
            found.quotas.iter().filter_map(Quota::read).min()
        }
    }

    #[test]
    fn the_smallest_quota_of_a_group_and_those_around_it_as_it_changes() {
        let fake = Fake::new("cpus-second");
        fake.write("a/b/cpu.max", "max 100000\n");
        fake.write("a/cpu.max", "450000 100000\n");
        fake.write("cpu.max", "max 100000\n");
        let found = Cpus::find_in(&fake.0, "0::/a/b\n");
        let quota = || found.quotas.iter().filter_map(Quota::read).min();
        assert_eq!(quota(), Some(4));
        fake.write("a/b/cpu.max", "20000 10000\n");
        assert_eq!(quota(), Some(2));
        fake.write("a/b/cpu.max", "5000 100000\n");
        assert_eq!((quota(), found.allowed()), (Some(0), 1), "one at least");
        fake.write("a/b/cpu.max", "max 100000\n");
        fake.write("a/cpu.max", "max 100000\n");
        assert_eq!(quota(), None);
    }

    #[test]
    fn the_first_version_seen_from_inside_a_container() {
        let fake = Fake::new("cpus-first");
        fake.write("cpu,cpuacct/cpu.cfs_quota_us", "300000\n");
        fake.write("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        let own = "4:memory:/x\n3:cpu,cpuacct:/docker/of-the-host\n0::/\n";
        assert_eq!(fake.quota(own), Some(3));
        fake.write("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
        assert_eq!(fake.quota(own), None);
    }

    #[test]
    fn nonsense_is_no_quota() {
        let fake = Fake::new("cpus-nonsense");
        for text in ["", "\n", "7", "x y", "1 0\n", "-3 100\n", "\u{1F4A9} 5"] {
            fake.write("cpu.max", text);
            assert_eq!(fake.quota("0::/\nx\n:\n::\n"), None, "{text:?}");
        }
        assert_eq!(fake.quota(""), None);
    }

    #[test]
    fn what_is_allowed_here_is_what_std_says() {
        let std = std::thread::available_parallelism().unwrap().get();
        assert_eq!(Cpus::find().allowed(), std);
    }
}
