//! A server under load while its surroundings fail: `cargo xtask soak faults`.
//!
//! ```text
//!   driver (this process)                            subject (a child)
//!   load.rs    clients that check every answer  ──►  served.rs, http.rs   store of collected objects, HTTP, WebSockets
//!   disk.rs    reads the journal, or does not   ◄──  store.rs             a write is acknowledged when it is in the journal
//!   faults.rs  limits, signals, a disk that stalls
//! ```
//!
//! Clients reset connections in the middle of a write, and have handlers panic. Meanwhile the driver takes from the subject, in turns, its descriptors, its memory, its disk and its processors.
//! What must hold, and is said at the end: every acknowledged write is in the store and in the journal; no answer is wrong or takes longer than [`load::PATIENCE`]; when the load is over, so are its
//! goroutines, descriptors and collected objects. Once a second a line says what the subject has; whether its memory grows is judged by who reads them.

mod disk;
mod drive;
mod faults;
mod http;
mod load;
mod random;
mod served;
mod store;

#[global_allocator]
static GLOBAL: goruntime::GoMalloc = goruntime::GoMalloc::new();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [role, journal] if role == "serve" => {
            let journal = journal.clone();
            goruntime::run_main(move || served::run(&journal))?;
        }
        [seconds] => {
            let seconds = seconds.parse()?;
            goruntime::run_main(move || drive::run(seconds))?;
        }
        _ => return Err("usage: faults SECONDS".into()),
    }
    Ok(())
}
