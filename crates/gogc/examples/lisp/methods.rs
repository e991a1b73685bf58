//! Every collector of `gogc`, over the same heap and world.
//!
//! This is the only place where it matters which one it is.

use std::io::Write;
use std::sync::Arc;

use gogc::{Age, Collector, Config, Counting, Cycles, Generational, MarkSweep, Reason, Thresholds};

use crate::heap::{Births, Heap};
use crate::runtime::{Collecting, Gc, Runtime};
use crate::world::World;

/// A method of collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Marking beside the interpreters.
    Concurrent,
    /// Marking with the interpreters stopped.
    Stopped,
    /// The same by ages.
    Generational,
    /// Counting, with cycles looked for.
    Counting,
    /// Counting, without.
    Leaking,
}

/// All methods, with their names.
pub const METHODS: [(Method, &str); 5] = [
    (Method::Concurrent, "concurrent"),
    (Method::Stopped, "stopped"),
    (Method::Generational, "generational"),
    (Method::Counting, "counting"),
    (Method::Leaking, "leaking"),
];

/// Who collects, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// When the collector says that it is time.
    Due,
    /// Before each instruction that may allocate.
    AtEachAllocation,
    /// Always.
    AllTheTime,
}

/// How the interpreters are set up.
pub struct Setup {
    /// By which method they collect.
    pub method: Method,
    /// And when.
    pub when: When,
    /// Whether each collection is checked.
    pub checked: bool,
    /// The most that the heap may take, in bytes.
    pub heap: usize,
    /// What the collector aims at.
    pub config: Config,
    /// Values that each stack has room for.
    pub stack: usize,
    /// Whether each collection is told of.
    pub traced: bool,
    /// Where output goes.
    pub output: Box<dyn Write + Send>,
}

/// What to do with interpreters, whatever the collector.
pub trait Task {
    /// What comes of it.
    type Output;
    /// Does it.
    fn run<G: Gc>(self, runtime: &Arc<Runtime<G>>) -> Self::Output;
}

/// Does the task on interpreters that are set up so.
///
/// # Errors
/// If there is no memory for the collector.
pub fn with<T: Task>(setup: Setup, task: T) -> Result<T::Output, gogc::BuildError> {
    let births = match setup.method {
        Method::Concurrent | Method::Stopped => Births::Marked,
        Method::Generational | Method::Counting | Method::Leaking => Births::Young,
    };
    let (heap, world) = (Heap::new(setup.heap, births), World::new());
    if setup.traced {
        world.trace();
    }
    let handles = (heap.clone(), world.clone());
    let (config, checked) = (setup.config, setup.checked);
    match setup.method {
        Method::Concurrent => {
            let gc = MarkSweep::new(heap, world, config, gogc::Method::Concurrent)?;
            gc.check_marks(checked);
            Ok(run(gc, handles, setup, collect_all, true, task))
        }
        Method::Stopped => {
            let gc = MarkSweep::new(heap, world, config, gogc::Method::StopTheWorld)?;
            gc.check_marks(checked);
            Ok(run(gc, handles, setup, collect_all, false, task))
        }
        Method::Generational => {
            let gc = Generational::new(heap, world, config, Thresholds::default())?;
            gc.check_marks(checked);
            Ok(run(gc, handles, setup, collect_some_age, false, task))
        }
        Method::Counting | Method::Leaking => {
            let cycles = match setup.method {
                Method::Counting => Cycles::Found,
                _ => Cycles::Leaked,
            };
            let gc = Counting::new(heap, world, config, cycles);
            gc.check_counts(checked);
            Ok(run(gc, handles, setup, collect_more_or_less, false, task))
        }
    }
}

fn run<G: Gc, T: Task>(
    gc: G,
    (heap, world): (Heap, World),
    setup: Setup,
    torture: fn(&G),
    in_background: bool,
    task: T,
) -> T::Output {
    let collecting = match setup.when {
        When::Due if in_background => Collecting::InBackground,
        When::Due => Collecting::InTurn,
        When::AtEachAllocation => Collecting::AtEachAllocation(torture),
        When::AllTheTime => Collecting::AllTheTime(torture),
    };
    let runtime = Runtime::new((gc, heap, world), collecting, setup.stack, setup.output);
    runtime.run(|| task.run(&runtime))
}

fn collect_all<G: Gc>(gc: &G) {
    let Ok(_) = gc.collect(Reason::Forced);
}

/// The young, more often than others.
fn collect_some_age(gc: &Generational<Heap, World>) {
    let count: u64 = gc.collections().iter().sum();
    let ages = [Age::Young, Age::Young, Age::Middle, Age::Young, Age::Old];
    let Ok(_) = gc.collect_ages(ages[(count % 5) as usize]);
}

/// With a trial every third time.
fn collect_more_or_less(gc: &Counting<Heap, World>) {
    let count = gc.last_cycle().map_or(0, |cycle| cycle.cycle);
    let reason = match count % 3 {
        2 => Reason::Forced,
        _ => Reason::HeapGoal,
    };
    let Ok(_) = gc.collect(reason);
}
