//! Wrong frees end the process with a message that names the address.

// Miri starts no processes.
#![cfg(not(miri))]

use gomem::{Heap, LinuxOs, Mutator};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::ptr::NonNull;

type Misdeed = fn(&mut Mutator<'_, LinuxOs>) -> NonNull<u8>;

/// Each returns an address that is then freed.
const MISDEEDS: [(&str, Misdeed, &str); 6] = [
    (
        "elsewhere",
        |_| NonNull::dangling(),
        "not a block of this heap",
    ),
    (
        "inside",
        |m| {
            let block = m.malloc(64, 8).unwrap();
            // SAFETY: inside the block.
            unsafe { block.add(8) }
        },
        "not the start of a block",
    ),
    (
        "inside large",
        |m| {
            let block = m.malloc(1 << 20, 8).unwrap();
            // SAFETY: inside the block.
            unsafe { block.add(4096) }
        },
        "not the start of a block",
    ),
    (
        "twice",
        |m| {
            let block = m.malloc(64, 8).unwrap();
            // SAFETY: allocated above.
            unsafe { m.free(block) };
            block
        },
        "was freed already",
    ),
    (
        "large twice",
        |m| {
            let block = m.malloc(1 << 20, 8).unwrap();
            // SAFETY: allocated above.
            unsafe { m.free(block) };
            block
        },
        "not a block of this heap",
    ),
    (
        "collected",
        |m| {
            m.alloc_collected(64, 8, gomem::CollectedKind::NoScan)
                .unwrap()
        },
        "not allocated with malloc",
    ),
];

#[test]
fn wrong_frees_abort_with_a_message() {
    if let Ok(which) = std::env::var("MISDEED") {
        let (_, misdeed, _) = MISDEEDS[which.parse::<usize>().unwrap()];
        let heap = Heap::new(LinuxOs);
        let mut mutator = heap.mutator().unwrap();
        let block = misdeed(&mut mutator);
        // SAFETY: it is wrong; that the heap notices is what is being tested.
        unsafe { mutator.free(block) };
        // Some misdeeds are noticed when the block goes back to its span.
        drop(mutator);
        heap.release_all();
        return;
    }
    for (i, (name, _, message)) in MISDEEDS.iter().enumerate() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["wrong_frees_abort_with_a_message", "--nocapture"])
            .env("MISDEED", i.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.signal(),
            Some(libc::SIGABRT),
            "{name}: {text}"
        );
        assert!(
            text.contains("gomem: free(0x") && text.contains(message),
            "{name}: {text}"
        );
    }
}
