//! The reference for the timers of a P: a list of what is armed, looked through from end to end.
//!
//! Tests and the fuzzer share it; whatever the heap and the list disagree about is a panic.

use super::*;
use crate::critical;
use std::sync::atomic::AtomicBool;

/// A step of a run.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Arms a timer for this time.
    Arm(u64),
    /// Disarms one of those armed: the number is reduced to how many there are.
    Disarm(usize),
    /// Fires what is due at this time.
    Fire(u64),
}

unsafe fn mark(target: *const ()) -> Option<GRef> {
    // SAFETY: the flags of `run` outlive the heap's use.
    unsafe { (*target.cast::<AtomicBool>()).store(true, Ordering::Relaxed) };
    None
}

/// Does `ops` on both, and panics where they disagree.
pub fn run(ops: &[Op]) {
    let inside = critical::enter();
    let timers = Timers::new();
    let fired: Vec<AtomicBool> = ops.iter().map(|_| AtomicBool::new(false)).collect();
    let when = |op: &Op| match *op {
        Op::Arm(when) => when,
        _ => 0,
    };
    let nodes: Vec<TimerNode> = ops
        .iter()
        .zip(&fired)
        .map(|(op, flag)| {
            let target = std::ptr::from_ref(flag).cast();
            let wake = Wake {
                target,
                claim: mark,
                discard: None,
            };
            TimerNode::new(Nanos(when(op)), wake)
        })
        .collect();
    let mut armed: Vec<usize> = Vec::new();
    for (i, op) in ops.iter().enumerate() {
        match *op {
            Op::Arm(when_now) => {
                // SAFETY: the nodes outlive the heap's use and stay in their vector.
                let earliest = unsafe { timers.arm(&nodes[i], &inside) };
                let least = armed.iter().map(|&a| when(&ops[a])).min();
                assert_eq!(earliest, least.is_none_or(|least| when_now < least));
                armed.push(i);
            }
            Op::Disarm(which) if !armed.is_empty() => {
                let gone = armed.swap_remove(which % armed.len());
                // SAFETY: it was armed once.
                assert!(unsafe { Timers::disarm(&nodes[gone], &inside) });
                // SAFETY: as above.
                assert!(!unsafe { Timers::disarm(&nodes[gone], &inside) });
            }
            Op::Disarm(_) => {}
            Op::Fire(now) => {
                timers.fire(Nanos(now), &mut GList::new(), &inside);
                for &a in &armed {
                    assert_eq!(fired[a].load(Ordering::Relaxed), when(&ops[a]) <= now);
                }
                armed.retain(|&a| when(&ops[a]) > now);
            }
        }
        let least = armed.iter().map(|&a| when(&ops[a])).min();
        assert_eq!(timers.next(), least.map_or(Nanos::NEVER, Nanos));
        assert_eq!(timers.len(), armed.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            2 => (0..50u64).prop_map(Op::Arm),
            1 => any::<usize>().prop_map(Op::Disarm),
            1 => (0..50u64).prop_map(Op::Fire),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 64 }))]

        #[test]
        fn behaves_as_a_list(ops in proptest::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 120 })) {
            run(&ops);
        }
    }
}
