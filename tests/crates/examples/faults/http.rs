//! The HTTP service, on `httparse`.
//!
//! | path | |
//! | --- | --- |
//! | `/tree` | builds a tree of collected objects, and says how many |
//! | `/bytes` | a quarter of a megabyte |
//! | `/panic` | panics |
//! | `/large`, `/stack` | ask for more memory, or for a larger stack, than there may be; `there` or `refused` |
//! | `/figures` | what the program has |
//! | `/settle` | collects, and says how many goroutines are left that nobody can wake |
//! | `/goroutines` | all of them with their calls |

use crate::served::{CLEANED, ON_PURPOSE, STARTED, UNEXPECTED};
use goruntime::gc::{self, Gc, GcPtr, Trace};
use goruntime::net::TcpStream;
use goruntime::{Builder, goroutines, metrics};
use std::io::{self, Read, Write};
use std::sync::atomic::Ordering::Relaxed;

/// More than the driver leaves when it takes memory away.
const LARGE: usize = 1 << 29;

/// Objects of a tree.
pub const TREE: u64 = (1 << 12) - 1;

/// The bytes of `/bytes`.
pub const BYTES: usize = 1 << 18;

/// Serves a connection until the peer ends it.
pub fn session(mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        let answer = match request.parse(&buffer).map_err(io::Error::other)? {
            httparse::Status::Complete(end) => {
                let body = answer(request.path.unwrap_or_default());
                buffer.drain(..end);
                body
            }
            httparse::Status::Partial => {
                let mut part = [0; 1024];
                match stream.read(&mut part)? {
                    0 => return Ok(()),
                    n => buffer.extend(&part[..n]),
                }
                continue;
            }
        };
        let mut text = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        )
        .into_bytes();
        text.extend(answer);
        stream.write_all(&text)?;
    }
}

fn answer(path: &str) -> Vec<u8> {
    let said = |there: bool| if there { "there" } else { "refused" };
    match path {
        "/tree" => count(tree(TREE).as_deref()).to_string().into_bytes(),
        "/bytes" => vec![b'x'; BYTES],
        "/panic" => std::panic::panic_any(ON_PURPOSE),
        "/large" => said(Vec::<u8>::new().try_reserve_exact(LARGE).is_ok()).into(),
        "/stack" => {
            let goroutine = Builder::new().stack_size(LARGE).spawn(|| ());
            said(goroutine.is_ok_and(|goroutine| goroutine.join().is_ok())).into()
        }
        "/figures" => format!(
            "goroutines {} cycles {} started {} cleaned {} unexpected {}",
            metrics::snapshot().goroutines,
            metrics::snapshot().gc_cycles,
            STARTED.load(Relaxed),
            CLEANED.load(Relaxed),
            UNEXPECTED.load(Relaxed)
        )
        .into(),
        "/settle" => {
            gc::collect();
            match goroutines::leaked() {
                Ok(leaked) => format!("leaked {}", leaked.len()).into(),
                Err(error) => format!("unknown: {error}").into(),
            }
        }
        "/goroutines" => {
            let mut all = Vec::new();
            let _ = goroutines::write_all(&mut all);
            all
        }
        _ => Vec::new(),
    }
}

#[derive(Trace)]
struct Tree {
    left: GcPtr<Tree>,
    right: GcPtr<Tree>,
}

fn tree(objects: u64) -> Option<Gc<Tree>> {
    let half = objects / 2;
    (objects > 0).then(|| {
        Gc::new(Tree {
            left: GcPtr::new(tree(half)),
            right: GcPtr::new(tree(half)),
        })
    })
}

fn count(tree: Option<&Tree>) -> u64 {
    tree.map_or(0, |tree| {
        1 + count(tree.left.load().as_deref()) + count(tree.right.load().as_deref())
    })
}
