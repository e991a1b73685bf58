//! The table of lessons: their experiments, and how what these print is drawn.
//!
//! A lesson has its chapter in `docs/src/course`, in a file of its name, which the lint checks (`course`).

use super::growth_of_go;
use crate::chart::{Frame, Scale};

/// One lesson.
pub struct Lesson {
    /// What it is called on the command line, and its chapter's file.
    pub name: &'static str,
    /// The question that its experiment answers.
    pub help: &'static str,
    /// What has the experiment.
    pub program: Program,
    /// Points of a program of somebody else's, to be shown beside.
    pub peer: Option<fn() -> Result<String, String>>,
    /// What is drawn.
    pub plots: &'static [Plot],
}

/// An example, and its crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// The crate.
    pub package: &'static str,
    /// The example.
    pub example: &'static str,
}

const MEMORY: Program = Program {
    package: "gomem",
    example: "course-memory",
};
const COLLECTION: Program = Program {
    package: "gogc",
    example: "course-collection",
};
const RUNTIME: Program = Program {
    package: "goruntime",
    example: "course-runtime",
};
const STACKS: Program = Program {
    package: "gostack",
    example: "course-stacks",
};
const MONITOR: Program = Program {
    package: "gosysmon",
    example: "course-monitor",
};

/// One of its pictures.
pub struct Plot {
    /// Its name in the experiment's output, and its file's.
    pub name: &'static str,
    /// What it says besides its points.
    pub frame: Frame,
    /// What to see in it.
    pub reading: &'static str,
}

const fn plot(
    name: &'static str,
    title: &'static str,
    x: (&'static str, Scale),
    y: (&'static str, Scale),
    reading: &'static str,
) -> Plot {
    Plot {
        name,
        frame: Frame { title, x, y },
        reading,
    }
}

const fn lesson(
    name: &'static str,
    help: &'static str,
    program: Program,
    plots: &'static [Plot],
) -> Lesson {
    Lesson {
        name,
        help,
        program,
        peer: None,
        plots,
    }
}

use Scale::{Doubling, Linear, Tenfold};

const CALL: (&str, Scale) = ("nanoseconds for a call and its return", Linear);

/// Every lesson with an experiment, in the order of the course.
pub const LESSONS: &[Lesson] = &[
    lesson(
        "asking",
        "why not ask the system for each block?",
        MEMORY,
        &[plot(
            "asking",
            "A block is obtained, touched in each of its pages, and given back",
            ("bytes of the block", Doubling),
            ("nanoseconds", Tenfold),
            "the system takes about as long for 64 bytes as for a page; what was used before needs no page faults",
        )],
    ),
    lesson(
        "classes",
        "what is lost by rounding sizes up?",
        MEMORY,
        &[plot(
            "classes",
            "The part of a block that was not asked for",
            ("bytes asked for", Doubling),
            ("per cent of the block", Linear),
            "each tooth is a class: nothing is lost at its right end; at its left end an eighth or so, with powers of two a half",
        )],
    ),
    lesson(
        "fragmentation",
        "how much of the memory that is freed can be given back?",
        MEMORY,
        &[plot(
            "fragmentation",
            "Memory is filled with blocks, and some of them are freed",
            ("per cent of the blocks that are freed", Linear),
            ("per cent of the memory that can be given back", Linear),
            "a page goes back only if all of its blocks are free: small blocks that are freed at random free no page for long",
        )],
    ),
    lesson(
        "levels",
        "which level of the allocator answers?",
        MEMORY,
        &[plot(
            "levels",
            "So many blocks of 64 bytes are allocated, then freed",
            ("blocks", Doubling),
            ("nanoseconds for a block", Tenfold),
            "a few are the thread's own affair; more go through the central lists; new ones come from the page heap, and their pages from the system",
        )],
    ),
    lesson(
        "giving-back",
        "when is memory that was freed given back to the system?",
        MEMORY,
        &[plot(
            "giving-back",
            "256 MiB of blocks of 1 KiB, freed after half a second",
            ("seconds", Linear),
            ("MiB of physical memory", Linear),
            "the helper waits to see whether the program takes it back, and then gives back all but a little",
        )],
    ),
    lesson(
        "mark-sweep",
        "does a collection cost what is alive, or what is dead?",
        RUNTIME,
        &[plot(
            "mark-sweep",
            "A forced collection of objects of 64 bytes",
            ("objects", Doubling),
            ("milliseconds", Tenfold),
            "to mark an object costs several times what it costs to sweep its place",
        )],
    ),
    lesson(
        "counting",
        "what does reference counting free, and what does it cost?",
        COLLECTION,
        &[
            plot(
                "circles",
                "Pairs of dead objects, some of which refer to each other in a circle",
                ("per cent of the pairs that are circles", Linear),
                ("per cent of the objects that are freed", Linear),
                "counts never fall to zero in a circle: it has to be looked for",
            ),
            plot(
                "stops",
                "A collection that frees a hundred objects, beside a list that lives",
                ("objects that live", Doubling),
                ("microseconds", Tenfold),
                "counting looks at what has changed, marking at what lives",
            ),
        ],
    ),
    lesson(
        "generations",
        "when does it pay to look at young objects more often?",
        COLLECTION,
        &[plot(
            "generations",
            "65,536 live objects, each new one in the place of the one that has lived longest, or dropped",
            ("per cent of the objects that survive their youth", Linear),
            ("bytes looked through for each byte allocated", Linear),
            "where few survive the young cost little; where all do they are looked at twice and more",
        )],
    ),
    lesson(
        "finalizers",
        "how long do objects with something to drop live?",
        RUNTIME,
        &[plot(
            "finalizers",
            "Objects of 1 KiB that nobody refers to any more",
            ("collections", Linear),
            ("MiB in use", Linear),
            "one collection finds them dead, the next frees them",
        )],
    ),
    lesson(
        "barrier",
        "what does a concurrent marker lose without a write barrier?",
        COLLECTION,
        &[plot(
            "barrier",
            "Pointers to nothing after a collection, by what a store shades",
            (
                "moves of pointers between two steps of the marker",
                Doubling,
            ),
            ("pointers to nothing", Linear),
            "half a barrier is not enough where stacks are looked at once; both halves lose nothing",
        )],
    ),
    lesson(
        "pacing",
        "what does GOGC trade?",
        RUNTIME,
        &[
            plot(
                "pacing-time",
                "64 MiB live, a gigabyte of garbage: processor time",
                ("GOGC", Doubling),
                ("milliseconds for each MiB allocated", Linear),
                "the collector's part halves when GOGC doubles; the program's own part stays",
            ),
            plot(
                "pacing-memory",
                "The same: memory",
                ("GOGC", Doubling),
                ("MiB", Linear),
                "what is alive, times one more than GOGC / 100",
            ),
        ],
    ),
    lesson(
        "assists",
        "who marks when the program allocates faster than the collector marks?",
        RUNTIME,
        &[plot(
            "assists",
            "Goroutines that allocate as fast as they can, 64 MiB live",
            ("goroutines that allocate", Doubling),
            ("milliseconds of processor time for a collection", Linear),
            "idle processors mark while there are some; when there are none, those who allocate have to",
        )],
    ),
    lesson(
        "threads",
        "how many threads does it take to run goroutines that wait?",
        RUNTIME,
        &[plot(
            "threads",
            "Goroutines that wait, by what they wait for",
            ("goroutines", Doubling),
            ("threads of the scheduler", Doubling),
            "waiting in the runtime takes no thread; a system call takes the one that it is made on",
        )],
    ),
    lesson(
        "creation",
        "what does it cost to start a goroutine?",
        RUNTIME,
        &[plot(
            "creation",
            "So many are started and alive at once",
            ("goroutines, or threads", Doubling),
            ("nanoseconds for each, until all have begun", Tenfold),
            "a new stack costs page faults; a used one costs a switch and little else",
        )],
    ),
    lesson(
        "order",
        "who runs next?",
        RUNTIME,
        &[plot(
            "order",
            "One P, with so many others in its queue",
            ("others that can run", Doubling),
            ("turns that others have first", Linear),
            "whoever a goroutine readies runs next; the queue of all is looked at each 61st time; who gives way is last",
        )],
    ),
    lesson(
        "hand-off",
        "what is it worth that any thread can run any goroutine?",
        RUNTIME,
        &[plot(
            "hand-off",
            "A token goes round a ring of goroutines",
            ("goroutines in the ring", Doubling),
            ("nanoseconds for each pass", Tenfold),
            "between ordinary goroutines it is a switch of stacks; between locked ones a thread is woken each time",
        )],
    ),
    lesson(
        "hot-split",
        "why did Go give up segmented stacks?",
        STACKS,
        &[plot(
            "hot-split",
            "A loop that calls a function, at every distance from the edge of the block",
            ("bytes that are left where the loop runs", Linear),
            CALL,
            "where the frame does not fit, every call on the segmented stack takes a segment and gives it back",
        )],
    ),
    Lesson {
        name: "contiguous",
        help: "what does it cost to move a stack?",
        program: STACKS,
        peer: Some(growth_of_go),
        plots: &[
            plot(
                "growth",
                "Recursion on a fresh stack, and again on one that has grown",
                ("depth in frames of 80 bytes", Doubling),
                (CALL.0, Tenfold),
                "growing costs a constant for each frame, since sizes double; the far right is the cost of memory outside of the caches",
            ),
            plot(
                "copying",
                "What a contiguous stack has copied at each depth",
                ("depth in frames of 80 bytes", Doubling),
                ("words copied for each frame", Linear),
                "ten words in a frame, each copied less than twice however deep",
            ),
        ],
    },
    lesson(
        "shrinking",
        "when should a stack be made smaller?",
        STACKS,
        &[
            plot(
                "shrink",
                "A collection, then a call half as deep again, over and over",
                (
                    "per cent of a 64 KiB block in use at the collection",
                    Linear,
                ),
                ("nanoseconds for a collection and a call", Linear),
                "a stack that is halved when under a half is used thrashes at some depths; under a quarter it never does",
            ),
            plot(
                "thrash",
                "The same, in moves of the stack",
                (
                    "per cent of a 64 KiB block in use at the collection",
                    Linear,
                ),
                ("moves for each collection", Linear),
                "two moves each time: halved by the collection, doubled by the next call",
            ),
        ],
    ),
    lesson(
        "forced",
        "what does the monitor do for a program that has gone quiet?",
        MONITOR,
        &[
            plot(
                "forced",
                "A program that collects each 20 seconds, and goes quiet after three minutes",
                ("seconds", Linear),
                ("seconds since the last collection", Linear),
                "two minutes without a collection, and the monitor asks for one",
            ),
            plot(
                "sleeps",
                "The monitor's sleeps",
                ("looks since it last had to act", Linear),
                ("microseconds of sleep", Tenfold),
                "fifty short ones, then each twice the last up to 10 ms; where nothing runs, one deep one",
            ),
        ],
    ),
    lesson(
        "release",
        "what becomes of memory that a program does not need any more?",
        RUNTIME,
        &[plot(
            "release",
            "192 MiB of objects: dropped at 0.5 s, collected at 1.5 s",
            ("seconds", Linear),
            ("MiB", Linear),
            "dropped is not freed, and freed is not given back: first a collection, then the monitor",
        )],
    ),
    lesson(
        "preemption",
        "how long does a goroutine wait for one that computes?",
        RUNTIME,
        &[plot(
            "preemption",
            "One P, and a goroutine that computes with it",
            ("milliseconds that it computes", Doubling),
            ("milliseconds until another goroutine begins", Doubling),
            "as long as it computes, but not much longer than its slice of 10 ms",
        )],
    ),
    lesson(
        "system-calls",
        "how long does a goroutine wait for one that is in a system call?",
        RUNTIME,
        &[plot(
            "system-calls",
            "One P, and a goroutine that sleeps in the kernel with it",
            ("milliseconds of sleep", Doubling),
            ("milliseconds until another goroutine begins", Doubling),
            "who says so beforehand gives the P away at once; a marked call loses it when the monitor looks; one that nothing is known of when its slice is over",
        )],
    ),
    lesson(
        "io",
        "how soon does a goroutine hear of bytes that have come?",
        RUNTIME,
        &[plot(
            "io",
            "From sending to receiving, by what the other goroutines do",
            ("per cent of the messages that are no later", Linear),
            ("microseconds", Tenfold),
            "an idle thread hears at once; where the queues are never empty the monitor looks each 10 ms; who computes has lost its P",
        )],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut lessons: Vec<&str> = LESSONS.iter().map(|lesson| lesson.name).collect();
        let mut plots: Vec<&str> = LESSONS
            .iter()
            .flat_map(|lesson| lesson.plots.iter().map(|plot| plot.name))
            .collect();
        for names in [&mut lessons, &mut plots] {
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }
}
