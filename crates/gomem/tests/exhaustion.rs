//! Memory that runs out for real: a limit on address space that comes before or after the heap, none left at all, a control group with little memory. Each in a process
//! of its own, which runs this program again.
//!
//! The process's heap is the one under test. In a control group the kernel refuses nothing: it ends the process that uses too much. So what is tested there is
//! that a program whose blocks would fit does, however their sizes change.

#![cfg(not(miri))]

use gomem::{GoMalloc, heap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;

#[global_allocator]
static GLOBAL: GoMalloc = GoMalloc::new();

const MIB: usize = 1 << 20;

/// In the child: true. In the parent: runs the test `name` in a child, and false.
fn is_child(name: &str) -> bool {
    if std::env::var_os("EXHAUSTED").is_some() {
        return true;
    }
    let output = child(name).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    false
}

fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // One thread, so that what the harness allocates meanwhile is little.
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env("EXHAUSTED", "1");
    command
}

fn limit_address_space(bytes: usize) {
    let limit = libc::rlimit {
        rlim_cur: bytes as u64,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a limit for this process.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

/// Blocks in a list through themselves: nothing else is allocated for them.
#[derive(Default)]
struct Blocks {
    first: Option<NonNull<Block>>,
    bytes: usize,
}

struct Block {
    next: Option<NonNull<Block>>,
    size: usize,
}

impl Blocks {
    /// Adds one, with a pattern from the first byte to the last. False if there is no memory.
    fn add(&mut self, size: usize) -> bool {
        let Some(block) = heap().malloc(size, 8) else {
            return false;
        };
        // SAFETY: a block of that size, ours.
        unsafe {
            block.write_bytes(size as u8, size);
            block.cast().write(Block {
                next: self.first,
                size,
            });
        }
        self.first = Some(block.cast());
        self.bytes += size;
        true
    }

    fn fill(size: usize) -> Blocks {
        let mut blocks = Blocks::default();
        while blocks.add(size) {}
        blocks
    }

    /// Frees all, whose bytes must be as they were written.
    fn free(&mut self) {
        while let Some(block) = self.first {
            // SAFETY: ours; freed once.
            unsafe {
                let Block { next, size } = block.read();
                let rest = std::slice::from_raw_parts(block.as_ptr().cast::<u8>(), size);
                let rest = &rest[size_of::<Block>()..];
                assert!(rest.iter().all(|&byte| byte == size as u8));
                heap().free(block.cast());
                self.first = next;
            }
        }
    }
}

/// All sorts of blocks until there are no more; then everything is free again, and can be had again.
fn fill_and_free(least: usize) {
    for round in 0..3 {
        let mut kinds = [4 * MIB, 100_000, 5000, 700, 64, 16].map(Blocks::fill);
        let bytes: usize = kinds.iter().map(|blocks| blocks.bytes).sum();
        assert!(bytes >= least, "{bytes} bytes in round {round}");
        assert!(heap().malloc(4 * MIB, 8).is_none() && heap().calloc(1 << 40, 8).is_none());
        assert!(heap().malloc(MIB, 1 << 40).is_none());
        let kept = kinds[2].first.unwrap().cast::<u8>();
        // SAFETY: ours; refused, so still there.
        assert!(unsafe { heap().realloc(kept, 1 << 30, 8) }.is_none());
        kinds.iter_mut().for_each(Blocks::free);
        let stats = heap().stats();
        assert!(stats.heap_inuse < 2 * MIB, "{stats:?}");
    }
}

/// The limit comes when the heap has reserved far more: what is reserved can be used up to the limit, tables and records included.
#[test]
fn a_limit_that_is_lowered_later() {
    if is_child("a_limit_that_is_lowered_later") {
        let mut some = Blocks::default();
        assert!(some.add(100_000));
        some.free();
        limit_address_space(300 * MIB);
        // Four arenas of 64 MiB.
        fill_and_free(240 * MIB);
        assert!(heap().stats().heap_sys <= 300 * MIB);
        // And raised again.
        limit_address_space(500 * MIB);
        fill_and_free(420 * MIB);
    }
}

/// The limit is already passed: what is committed goes on being used.
#[test]
fn a_limit_below_what_is_there() {
    if is_child("a_limit_below_what_is_there") {
        limit_address_space(1);
        fill_and_free(40 * MIB);
    }
}

/// Nothing is left of the address space itself, but small holes.
#[test]
fn address_space_that_is_used_up() {
    if is_child("address_space_that_is_used_up") {
        // Before the heap's first reservation is used up, it is: by other mappings.
        let mut taken = [(std::ptr::null_mut(), 0); 4096];
        let (mut n, mut size) = (0, 1 << 45);
        while size >= 2 * MIB && n < taken.len() {
            // SAFETY: a mapping of nobody else's.
            let start = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    size,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if start == libc::MAP_FAILED {
                size /= 2;
            } else {
                taken[n] = (start, size);
                n += 1;
            }
        }
        // The process's heap has its reservation. Another one has nothing.
        let other = gomem::Heap::new(gomem::LinuxOs);
        if let Ok(mut mutator) = other.mutator() {
            assert!(mutator.malloc(100, 8).is_none());
            assert!(mutator.calloc(100_000, 8).is_none());
            assert!(
                mutator
                    .alloc_collected(100, 8, gomem::CollectedKind::Scan)
                    .is_none()
            );
        }
        assert!(other.alloc_manual(8192).is_none());
        let mut blocks = Blocks::default();
        assert!((0..2000).all(|n| blocks.add(16 + n * 60)));
        blocks.free();
        for &(start, size) in &taken[..n] {
            // SAFETY: mapped above.
            unsafe { libc::munmap(start, size) };
        }
        let mut mutator = other.mutator().unwrap();
        let block = mutator.malloc(100, 8).unwrap();
        // SAFETY: ours; freed once.
        unsafe { mutator.free(block) };
    }
}

/// A control group for memory below the process's own.
struct Group(PathBuf);

impl Group {
    /// None if that is not permitted, with a line that says so.
    fn new(limit: usize) -> Option<Group> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let line = |what: &str| {
            own.lines()
                .find_map(|line| line.split_once(':')?.1.strip_prefix(what))
                .map(|path| path.trim_start_matches('/').to_owned())
        };
        let places = [
            (
                line("memory:"),
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
            ),
            (line(":"), "/sys/fs/cgroup", "memory.max"),
        ];
        for (own, root, file) in places {
            let Some(own) = own else { continue };
            let name = format!("gomem-exhaustion-{}", std::process::id());
            let group = Group(Path::new(root).join(own).join(name));
            let made = std::fs::create_dir(&group.0);
            if made.is_ok() && std::fs::write(group.0.join(file), limit.to_string()).is_ok() {
                return Some(group);
            }
        }
        println!("skipped: no control group with a limit on memory can be made here");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_control_group_with_little_memory() {
    const NAME: &str = "a_control_group_with_little_memory";
    if std::env::var_os("EXHAUSTED").is_some() {
        // Waits until it is in the group.
        std::io::stdin().read_line(&mut String::new()).unwrap();
        for size in [64, 3000, 30_000, 200_000, 10 * MIB, 640, 32] {
            let mut blocks = Blocks::default();
            while blocks.bytes < 60 * MIB {
                assert!(blocks.add(size));
            }
            blocks.free();
        }
        return;
    }
    let Some(group) = Group::new(128 * MIB) else {
        return;
    };
    let mut command = child(NAME);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let moved = std::fs::write(group.0.join("cgroup.procs"), child.id().to_string());
    drop(child.stdin.take());
    let status = child.wait().unwrap();
    match moved {
        Ok(()) => assert!(status.success(), "{status}"),
        Err(why) => println!("skipped: no process can be moved to a control group: {why}"),
    }
}
