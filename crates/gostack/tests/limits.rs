//! The process's own limits, reached for real. Alone in its process, because it takes what every thread needs.

use gostack::env::OsError;
use gostack::os::{GuardMethod, Linux};
use gostack::pool::StackPool;
use gostack::stack::{NativeStack, StackClass};

fn take_until_refused(pool: &StackPool<Linux>, most: usize) -> (Vec<NativeStack>, Option<OsError>) {
    let mut stacks = Vec::with_capacity(most);
    while stacks.len() < most {
        match pool.take() {
            Ok(stack) => stacks.push(stack),
            Err(refusal) => return (stacks, Some(refusal)),
        }
    }
    (stacks, None)
}

#[test]
fn limits_are_errors_that_say_what_to_raise() {
    // Guards by protection, as before Linux 6.13: each stack takes two mappings.
    let most: usize = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    if most <= 200_000 {
        let pool = StackPool::new(
            Linux {
                guard_method: GuardMethod::Protection,
            },
            StackClass::MIN,
        );
        let (stacks, refusal) = take_until_refused(&pool, most);
        let refusal = refusal.expect("more mappings than the process may have");
        assert!(
            stacks.len() > most / 2 - 2000 && stacks.len() <= most / 2,
            "{} of {most}",
            stacks.len()
        );
        assert_eq!(refusal.errno, libc::ENOMEM);
        assert!(
            refusal.to_string().contains("vm.max_map_count"),
            "{refusal}"
        );
        pool.put_many(stacks);
    }

    // Guards by marker do not split mappings.
    let pool = StackPool::new(Linux::default(), StackClass::MIN);
    let (stacks, refusal) = take_until_refused(&pool, 70_000);
    assert_eq!(refusal, None);
    pool.put_many(stacks);
    drop(pool);

    // Address space: the last regions get smaller until nothing fits.
    let limit = libc::rlimit {
        rlim_cur: 1 << 30,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: lowers a limit of this process.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let pool = StackPool::new(Linux::default(), StackClass::DEFAULT);
    let (stacks, refusal) = take_until_refused(&pool, 5000);
    let refusal = refusal.expect("more address space than the process may have");
    assert!(stacks.len() > 1000, "{}", stacks.len());
    assert!(refusal.to_string().contains("ulimit -v"), "{refusal}");
    // What was refused is not lost: the pool goes on with what it has.
    let one = stacks.len() - 1;
    pool.put_many(stacks);
    let (again, _) = take_until_refused(&pool, one + 1);
    assert_eq!(again.len(), one + 1);
    pool.put_many(again);
}
