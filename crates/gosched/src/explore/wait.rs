//! What goroutines and threads wait with: locks, results, descriptors, channels. Nobody waits for what has happened, and what one has done the
//! other sees.

use super::threads::go;
use super::{remove, weaken};
use crate::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::chan;
use crate::chan::select::{RecvCase, Wait, select};
use crate::critical;
use crate::gmp::g::{GRef, current};
use crate::goroutine::WaitReason;
use crate::join::{JoinHandle, Packet};
use crate::poll::Direction;
use crate::poll::desc::PollDesc;
use crate::sync::raw::RawMutex;
use crate::time::Nanos;
use goexplore::sync::Guarded;
use goexplore::{Exploration, Plant, thread};
use std::sync::Arc;

struct Shared {
    mutex: RawMutex,
    data: Guarded<u32>,
}

impl Shared {
    fn add(&self) {
        assert!(self.mutex.lock(WaitReason::MutexLock, Nanos::NEVER));
        // SAFETY: the lock is held; whether that suffices is what is explored. The same for unlocking.
        unsafe {
            self.data.with_mut(|n| *n += 1);
            self.mutex.unlock();
        }
    }
}

/// Goroutines and a thread take a lock, one of them twice.
fn mutex() {
    let shared = Arc::new(Shared {
        mutex: RawMutex::new(),
        data: Guarded::new(0),
    });
    let others = [(); 2].map(|()| {
        let shared = shared.clone();
        go(move || shared.add())
    });
    shared.add();
    shared.add();
    for other in others {
        other.join().unwrap();
    }
    // SAFETY: everybody else has ended.
    assert_eq!(unsafe { shared.data.with(|n| *n) }, 4);
}

#[test]
fn explore_the_mutex() {
    let exploration = Exploration::exhaustive().preemptions(2).stale_reads(0);
    exploration.check("gosched: mutex", mutex);
    let random = Exploration::random(1).executions(3000);
    random.check("gosched: mutex", mutex);
    let file = "src/sync/raw.rs";
    let plants = vec![
        weaken(
            file,
            "self.state.store(locked | waiters, Ordering::Release)",
        ),
        weaken(
            file,
            "self\n            .state\n            .compare_exchange(LOCKED, 0, Ordering::Release",
        ),
        remove("src/waiter.rs", "sys::futex_wake(word, 1)"),
        Plant::named("a waiter does not announce itself"),
    ];
    random.catches("gosched: mutex", plants, mutex);
}

/// A goroutine leaves its result, somebody joins it.
fn join() {
    let packet = Arc::new(Packet::new());
    let handle = JoinHandle::new(packet.clone());
    let data = Arc::new(Guarded::new(0));
    let its = data.clone();
    let goroutine = thread::spawn(move || {
        // SAFETY: nobody else looks at it before the join.
        unsafe { its.with_mut(|n| *n = 1) };
        // SAFETY: called once, in this order.
        unsafe {
            packet.put(Ok(7));
            Packet::<u32>::announce(Arc::into_raw(packet).cast());
        }
    });
    let joiner = go(move || {
        assert_eq!(handle.join().unwrap(), 7);
        // SAFETY: the goroutine has been joined.
        assert_eq!(unsafe { data.with(|n| *n) }, 1);
    });
    goroutine.join().unwrap();
    joiner.join().unwrap();
}

#[test]
fn explore_joining() {
    let exploration = Exploration::exhaustive().preemptions(3);
    exploration.check("gosched: join", join);
    let plants = vec![
        weaken("src/join.rs", "packet.state.swap(DONE, Ordering::AcqRel)"),
        weaken("src/join.rs", "self.state.load(Ordering::Acquire) == DONE"),
        remove("src/explore/threads.rs", "sys::futex_wake(runnable, 1)"),
    ];
    exploration.catches("gosched: join", plants, join);
}

struct Descriptor {
    desc: PollDesc,
    /// There is something to read.
    data: AtomicBool,
}

/// Data arrive at a descriptor, or it is closed, while a goroutine waits for them.
fn descriptor(closes: bool) {
    // Of its own, for an execution that fails leaves it as it is.
    let waiters: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let shared = Arc::new(Descriptor {
        desc: PollDesc::new(waiters),
        data: AtomicBool::new(false),
    });
    let its = shared.clone();
    let reader = go(move || {
        assert!(its.desc.take_turn(Direction::Read, Nanos::NEVER));
        let g = current().expect("a goroutine");
        loop {
            its.desc.prepare(Direction::Read);
            if its.data.load(Ordering::Relaxed) || its.desc.is_closed() {
                break;
            }
            its.desc.wait(g, Direction::Read, Nanos::NEVER);
        }
        // SAFETY: the turn was taken above.
        unsafe { its.desc.end_turn(Direction::Read) };
    });
    if closes {
        shared.desc.close().into_iter().flatten().for_each(ready);
    } else {
        // As the kernel does it: there is data, and then an edge.
        shared.data.store(true, Ordering::Release);
        shared.desc.report(Direction::Read).map(ready);
    }
    reader.join().unwrap();
    assert_eq!(
        waiters.load(Ordering::Relaxed),
        0,
        "somebody is still counted as waiting"
    );
}

#[test]
fn explore_descriptors() {
    let exploration = Exploration::exhaustive().preemptions(3);
    exploration.check("gosched: an edge", || descriptor(false));
    exploration.check("gosched: a close", || descriptor(true));
    let file = "src/poll/desc.rs";
    let edges = vec![weaken(
        file,
        "self.word\n            .compare_exchange(from, to, Ordering::AcqRel",
    )];
    exploration.catches("gosched: an edge", edges, || descriptor(false));
    let closes = vec![
        Plant::named("a word that stays as it is is not exchanged"),
        weaken(
            file,
            "self.word\n            .compare_exchange(from, to, Ordering::AcqRel",
        ),
    ];
    exploration.catches("gosched: a close", closes, || descriptor(true));
}

/// A deadline that has passed is set, or the descriptor closed, while a goroutine waits and an edge comes that brings no data.
fn told(closes: bool) {
    const PASSED: Nanos = Nanos(1);
    let waiters: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let desc = Arc::new(PollDesc::new(waiters));
    let its = desc.clone();
    let reader = go(move || {
        let g = current().expect("a goroutine");
        loop {
            its.prepare(Direction::Read);
            if its.deadline(Direction::Read) == PASSED || its.is_closed() {
                break;
            }
            its.wait(g, Direction::Read, Nanos::NEVER);
        }
    });
    let its = desc.clone();
    let kernel = thread::spawn(move || its.report(Direction::Read).map(ready));
    if closes {
        desc.close().into_iter().flatten().for_each(ready);
    } else {
        desc.set_deadline(Direction::Read, PASSED).map(ready);
    }
    kernel.join().unwrap();
    reader.join().unwrap();
}

/// Makes runnable a goroutine that was taken out of its slot.
fn ready(g: GRef) {
    // SAFETY: whoever took it out gave it to us to be made runnable.
    unsafe { (g.ops.make_runnable)(g, &critical::enter()) };
}

#[test]
fn explore_deadlines() {
    let exploration = Exploration::exhaustive().preemptions(2);
    exploration.check("gosched: a deadline", || told(false));
    exploration.check("gosched: a close after an edge", || told(true));
    let plant = || vec![Plant::named("a word that stays as it is is not exchanged")];
    exploration.catches("gosched: a deadline", plant(), || told(false));
    exploration.catches("gosched: a close after an edge", plant(), || told(true));
}

/// Two senders, of which one closes, and a receiver that takes what there is.
fn channel(capacity: usize) {
    let (sender, receiver) = match capacity {
        0 => chan::unbuffered(),
        n => chan::bounded(n),
    };
    let other = sender.clone();
    let first = go(move || sender.send(1u32).unwrap());
    let second = go(move || {
        other.send(2).unwrap();
        other.send(4).unwrap();
    });
    let sum: u32 = receiver.iter().sum();
    assert_eq!(sum, 7);
    first.join().unwrap();
    second.join().unwrap();
}

/// A goroutine receives from two channels, whichever has something, until it has had both.
fn selecting() {
    let (one, from_one) = chan::unbuffered::<u32>();
    let (two, from_two) = chan::unbuffered::<u32>();
    let first = go(move || one.send(1).unwrap());
    let second = thread::spawn(move || two.send(2).unwrap());
    let chooser = go(move || {
        let mut sum = 0;
        while sum != 3 {
            let (a, b) = (RecvCase::new(&from_one), RecvCase::new(&from_two));
            // What has sent and gone has closed its channel, which is always ready.
            sum += match sum {
                0 => match select(&[&a, &b], Wait::Forever) {
                    Some(0) => a.take(),
                    _ => b.take(),
                },
                1 => from_two.recv(),
                _ => from_one.recv(),
            }
            .expect("a value from each");
        }
    });
    first.join().unwrap();
    second.join().unwrap();
    chooser.join().unwrap();
}

#[test]
fn explore_channels() {
    let exploration = Exploration::exhaustive().preemptions(1).stale_reads(0);
    exploration.check("gosched: unbuffered channel", || channel(0));
    exploration.check("gosched: buffered channel", || channel(1));
    let random = Exploration::random(1).executions(2000);
    random.check("gosched: unbuffered channel", || channel(0));
    random.check("gosched: buffered channel", || channel(1));
    let plants = vec![remove(
        "src/explore/threads.rs",
        "sys::futex_wake(runnable, 1)",
    )];
    random.catches("gosched: unbuffered channel", plants, || channel(0));
}

#[test]
fn explore_select() {
    // At random only: channels are locked in the order of their addresses, which is another one each time.
    let random = Exploration::random(1).executions(4000);
    random.check("gosched: select", selecting);
    let plants = vec![Plant::named("a waiter may be claimed twice")];
    random.catches("gosched: select", plants, selecting);
}
