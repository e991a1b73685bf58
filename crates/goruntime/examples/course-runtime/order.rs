//! Who runs next: how many others run before a goroutine that was just made ready, on one P whose queue is full of others.
//!
//! The others do nothing but give way, so each of their turns is one round of scheduling, and can be counted.

use crate::point;
use goruntime::{chan, go, set_max_procs, yield_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Of so many trials the median counts.
const TRIALS: usize = 21;

pub fn run(tiny: bool) {
    let before = set_max_procs(1);
    let most = if tiny { 2 } else { 8 };
    for others in (0..=most).map(|power| 1u64 << power) {
        let crowd = Crowd::start(others);
        point(
            "order",
            "readied-by-a-goroutine",
            others,
            crowd.by_a_goroutine(),
        );
        point("order", "started", others, crowd.started());
        point(
            "order",
            "readied-by-a-plain-thread",
            others,
            crowd.by_a_thread(),
        );
        point("order", "that-gave-way", others, crowd.gave_way());
        crowd.end();
    }
    set_max_procs(before);
}

/// Goroutines that give way to each other, and count their turns.
struct Crowd {
    turns: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    members: Vec<goruntime::JoinHandle<()>>,
}

impl Crowd {
    fn start(members: u64) -> Crowd {
        let (turns, over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let members = (0..members)
            .map(|_| {
                let (turns, over) = (turns.clone(), over.clone());
                go(move || {
                    while !over.load(SeqCst) {
                        turns.fetch_add(1, SeqCst);
                        yield_now();
                    }
                })
            })
            .collect();
        Crowd {
            turns,
            over,
            members,
        }
    }

    fn end(self) {
        self.over.store(true, SeqCst);
        for member in self.members {
            member.join().expect("it does not panic");
        }
    }

    /// The median of the turns that others had between the two moments that `trial` returns.
    fn median(&self, mut trial: impl FnMut() -> u64) -> f64 {
        let mut all: Vec<u64> = (0..TRIALS).map(|_| trial()).collect();
        all.sort_unstable();
        all[TRIALS / 2] as f64
    }

    /// A goroutine waits for a channel, and another one sends.
    fn by_a_goroutine(&self) -> f64 {
        self.median(|| {
            let (send, receive) = chan::unbuffered::<u64>();
            let turns = self.turns.clone();
            let waiting = go(move || {
                let then = receive.recv().expect("it is sent");
                turns.load(SeqCst) - then
            });
            self.let_others_run();
            send.send(self.turns.load(SeqCst)).expect("it waits");
            waiting.join().expect("it does not panic")
        })
    }

    fn started(&self) -> f64 {
        self.median(|| {
            let (turns, then) = (self.turns.clone(), self.turns.load(SeqCst));
            let started = go(move || turns.load(SeqCst) - then);
            started.join().expect("it does not panic")
        })
    }

    /// A goroutine waits for a channel, and a thread that is not the scheduler's sends.
    fn by_a_thread(&self) -> f64 {
        self.median(|| {
            let (send, receive) = chan::unbuffered::<u64>();
            let turns = self.turns.clone();
            let waiting = go(move || {
                let then = receive.recv().expect("it is sent");
                turns.load(SeqCst) - then
            });
            self.let_others_run();
            let turns = self.turns.clone();
            let sending = std::thread::spawn(move || {
                send.send(turns.load(SeqCst)).expect("it waits");
            });
            let turns = waiting.join().expect("it does not panic");
            sending.join().expect("it does not panic");
            turns
        })
    }

    fn gave_way(&self) -> f64 {
        self.median(|| {
            let then = self.turns.load(SeqCst);
            yield_now();
            self.turns.load(SeqCst) - then
        })
    }

    /// So that whoever was started has begun to wait.
    fn let_others_run(&self) {
        yield_now();
        yield_now();
    }
}
