//! goruntime on an allocator that is not gomem. Everything works but `Gc`, which says why.

use goruntime::gc::Gc;
use goruntime::net::{TcpListener, TcpStream};
use goruntime::sync::Map;
use goruntime::{chan, go};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, and how many blocks it has given out.
pub struct Counting {
    blocks: AtomicUsize,
}

impl Counting {
    pub const fn new() -> Counting {
        Counting {
            blocks: AtomicUsize::new(0),
        }
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.blocks.fetch_add(1, Relaxed);
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; the block is one of the system's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[test]
fn goroutines_channels_and_sockets_run_on_any_allocator() {
    let before = super::GLOBAL.blocks.load(Relaxed);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let words = Arc::new(Map::new());
    let keep = words.clone();
    go(move || {
        for stream in listener.incoming() {
            let (mut stream, words) = (stream.unwrap(), keep.clone());
            go(move || {
                let mut word = String::new();
                stream.read_to_string(&mut word).unwrap();
                words.store(word.clone(), word.len());
                stream.write_all(word.to_uppercase().as_bytes()).unwrap();
            });
        }
    });
    let (tx, rx) = chan::bounded(4);
    for n in 0..100 {
        let tx = tx.clone();
        go(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(format!("word {n}").as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            tx.send(answer == format!("WORD {n}")).unwrap();
        });
    }
    drop(tx);
    assert_eq!(rx.iter().filter(|right| *right).count(), 100);
    assert_eq!(words.load("word 42"), Some(7));
    assert!(super::GLOBAL.blocks.load(Relaxed) - before > 100);
}

#[test]
fn collected_objects_need_gomem_and_say_so() {
    let panic = go(|| _ = Gc::new(1u32)).join().unwrap_err();
    let message = panic.message().unwrap();
    assert!(message.contains("goruntime::GoMalloc"), "{message}");
}
