//! A program whose allocator is hardened from its first allocation on: threads, blocks that others free, collections of the standard library, children.

#![cfg(not(miri))]

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc;

#[global_allocator]
static GLOBAL: gomem::HardenedMalloc = gomem::HardenedMalloc::new();

#[test]
fn a_program_runs() {
    assert!(gomem::heap().is_hardened());
    let (sender, receiver) = mpsc::channel::<Vec<u64>>();
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut map = BTreeMap::new();
                for n in 0..3000u64 {
                    map.insert(n * 7919 % 4096, vec![n; (n * 31 % 700) as usize]);
                    if n % 3 == 0 {
                        sender.send(vec![thread; 1 + (n % 9000) as usize]).unwrap();
                    }
                    if let Some(old) = map.remove(&(n * 13 % 4096)) {
                        assert!(old.iter().all(|&word| word == old[0]));
                    }
                }
                map.len()
            })
        })
        .collect();
    drop(sender);
    let mut sums: HashMap<u64, usize> = HashMap::new();
    for words in receiver {
        assert!(words.iter().all(|&word| word == words[0]));
        *sums.entry(words[0]).or_default() += words.len();
    }
    assert_eq!(sums.len(), 4);
    for thread in threads {
        assert!(thread.join().unwrap() > 0);
    }
}

#[test]
fn a_child_goes_on() {
    let kept: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    // SAFETY: the child allocates, which the heap is made for, and ends without unwinding.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let sum: usize = kept.iter().map(|text| text.parse::<usize>().unwrap()).sum();
            drop(kept);
            let more: Vec<_> = (0..1000).map(|n| vec![n as u8; n * 100]).collect();
            libc::_exit(i32::from(sum != 499_500 || more.len() != 1000));
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
    }
}
