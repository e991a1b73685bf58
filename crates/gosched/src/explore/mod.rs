//! The scheduler's concurrent protocols under the schedule explorer.
//!
//! Each model runs production code, states what must hold, and has bugs planted that it must catch. Where a model needs goroutines that really park,
//! they are threads ([`threads`]); where it needs a whole scheduler, goroutines run on its threads' own stacks ([`inline`]).

mod count;
mod idle;
mod inline;
mod lock;
mod locked;
mod network;
mod park;
mod procs;
mod retake;
mod ring;
mod threads;
mod timer;
mod wait;

use goexplore::{Plant, Site};

fn site(file: &str, snippet: &str) -> Site {
    Site::find(env!("CARGO_MANIFEST_DIR"), file, snippet)
}

fn weaken(file: &str, snippet: &str) -> Plant {
    Plant::weaken(site(file, snippet))
}

fn remove(file: &str, snippet: &str) -> Plant {
    Plant::remove(site(file, snippet))
}
