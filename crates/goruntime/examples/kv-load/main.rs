//! `kv-load`: drives a server that speaks the Redis protocol, measures it, and checks that it keeps what it is given.
//!
//! A goroutine per connection sends a batch of requests, waits for all replies, and starts over, so that the server decides the pace. With `--verify`
//! each connection has keys of its own, remembers what it did to them, and checks every reply and in the end everything.
//!
//! Modules, each using only those above it:
//!
//! ```text
//!   random  histogram  wire     numbers, latencies, the protocol
//!   options  ops                what to do
//!   model                       what must come back
//!   worker  report              one connection; what is printed
//! ```

mod histogram;
mod model;
mod ops;
mod options;
mod random;
mod report;
mod wire;
mod worker;

use crate::options::{Options, Task};
use crate::report::Tally;
use std::process::exit;
use std::sync::Arc;

#[goruntime::main]
fn main() {
    match options::parse(std::env::args().skip(1)) {
        Ok(Task::Load(options)) => {
            if !run(options) {
                exit(1);
            }
        }
        Ok(Task::Help) => print!("{}", options::HELP),
        Err(mistake) => {
            eprintln!("kv-load: {mistake}\n\n{}", options::HELP);
            exit(2);
        }
    }
}

/// Runs the load. True if all went well.
fn run(options: Options) -> bool {
    let options = Arc::new(options);
    let tally = Arc::new(Tally::new());
    let reporter = {
        let (options, tally) = (options.clone(), tally.clone());
        goruntime::go(move || report::run(&options, &tally))
    };
    let workers: Vec<_> = (0..options.connections)
        .map(|number| {
            let (options, tally) = (options.clone(), tally.clone());
            goruntime::go(move || worker::run(number, &options, &tally))
        })
        .collect();
    for worker in workers {
        if worker.join().is_err() {
            tally.error("a connection's goroutine panicked");
        }
    }
    tally.finish();
    // The reporter ends after its last line, or has nothing more to say.
    let _ = reporter.join();
    report::summary(&options, &tally);
    tally.is_clean()
}
