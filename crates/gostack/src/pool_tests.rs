//! The pool against a model, against refusals, and at the scale it is meant for.

use super::*;
use crate::os::{GuardMethod, Linux};
use crate::testing::Refusing;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn pool(class: StackClass) -> StackPool<Refusing> {
    StackPool::new(Refusing::default(), class)
}

#[derive(Debug, Clone)]
enum Step {
    Take,
    TakeMany(usize),
    Put(usize),
    PutMany(usize),
    Release(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Take),
        1 => (1usize..40).prop_map(Step::TakeMany),
        2 => any::<usize>().prop_map(Step::Put),
        1 => (0usize..30).prop_map(Step::PutMany),
        1 => any::<usize>().prop_map(Step::Release),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn stacks_never_overlap_and_are_found_by_any_address(steps in steps(), size in 14u32..22) {
        let class = StackClass::holding(1 << size).unwrap();
        let pool = pool(class);
        let mut owned: Vec<NativeStack> = Vec::new();
        let mut seen = BTreeSet::new();
        for step in steps {
            match step {
                Step::Take => owned.push(pool.take().unwrap()),
                Step::TakeMany(count) => {
                    let before = owned.len();
                    pool.take_many(count, &mut owned).unwrap();
                    prop_assert_eq!(owned.len(), before + count);
                }
                Step::Put(which) if !owned.is_empty() => {
                    let which = which % owned.len();
                    pool.put(owned.swap_remove(which));
                }
                Step::PutMany(count) => {
                    let keep = owned.len().saturating_sub(count);
                    pool.put_many(owned.drain(keep..));
                }
                Step::Release(which) if !owned.is_empty() => {
                    let stack = &owned[which % owned.len()];
                    pool.release(stack, stack.range().top).unwrap();
                }
                _ => {}
            }
            let mut bases = BTreeSet::new();
            for stack in &owned {
                let range = stack.range();
                prop_assert!(bases.insert(range.base), "one stack was handed out twice");
                prop_assert_eq!(range.bytes(), class.bytes());
                for addr in [range.base, range.limit - 1, range.limit, range.top - 1] {
                    prop_assert_eq!(pool.find(addr), Some(range));
                }
                seen.insert(range.base);
            }
        }
        // Reuse comes before carving: no more distinct stacks than the pool ever carved.
        let carved: usize = pool.regions.iter().map(|r| r.carved.load(Ordering::Relaxed)).sum();
        prop_assert!(seen.len() <= carved);
        pool.put_many(owned);
    }
}

#[test]
fn the_last_stack_given_back_is_the_next_taken() {
    let pool = pool(StackClass::MIN);
    let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
    let first = a.range();
    pool.put(b);
    pool.put(a);
    let again = pool.take().unwrap();
    assert_eq!(again.range(), first);
    pool.put(again);
}

#[test]
fn addresses_outside_are_not_found() {
    let pool = pool(StackClass::DEFAULT);
    let local = 0u8;
    assert_eq!(pool.find(0), None);
    let stack = pool.take().unwrap();
    assert_eq!(pool.find(0), None);
    assert_eq!(pool.find(usize::MAX), None);
    assert_eq!(pool.find(&raw const local as usize), None);
    // The next slot of the region is mapped but not carved: it is nobody's stack yet.
    assert_eq!(pool.find(stack.range().top), None);
    pool.put(stack);
}

#[test]
fn released_pages_read_as_zero_and_can_be_written_again() {
    let pool = pool(StackClass::DEFAULT);
    let stack = pool.take().unwrap();
    let range = stack.range();
    // SAFETY: both words lie in the usable part of a stack that this test owns.
    unsafe {
        let low = stack.base().add(range.limit - range.base).cast::<u64>();
        let high = stack.top().cast::<u64>().sub(1);
        low.write_volatile(7);
        high.write_volatile(9);
        pool.release(&stack, range.top - PAGE).unwrap();
        assert_eq!(low.read_volatile(), 0);
        assert_eq!(high.read_volatile(), 9);
        low.write_volatile(1);
    }
    pool.put(stack);
}

#[test]
fn each_refused_call_is_an_error_that_loses_nothing() {
    for nth in 1..6 {
        let pool = pool(StackClass::DEFAULT);
        pool.os().refuse(nth);
        let mut owned = Vec::new();
        let mut refusals = 0;
        for _ in 0..4 {
            match pool.take() {
                Ok(stack) => owned.push(stack),
                Err(refusal) => {
                    refusals += 1;
                    assert_eq!(refusal.errno, libc::ENOMEM);
                    assert!(refusal.to_string().contains("cannot"), "{refusal}");
                }
            }
        }
        // The first call maps, and a refused mapping is tried again at half the size.
        assert_eq!(refusals, usize::from(nth > 1 && nth <= 5), "call {nth}");
        assert_eq!(owned.len() + refusals, 4);
        pool.os().refuse(0);
        owned.push(pool.take().unwrap());
        pool.put_many(owned);
    }
}

#[test]
fn an_exhausted_address_space_is_an_error() {
    struct Nothing;
    // SAFETY: it hands out no memory at all.
    unsafe impl Os for Nothing {
        fn map(&self, _: usize) -> Result<NonNull<u8>, OsError> {
            Err(OsError {
                operation: "map",
                errno: libc::ENOMEM,
                advice: "none",
            })
        }
        unsafe fn unmap(&self, _: NonNull<u8>, _: usize) {}
        unsafe fn install_guard(&self, _: NonNull<u8>, _: usize) -> Result<(), OsError> {
            Ok(())
        }
        unsafe fn release(&self, _: NonNull<u8>, _: usize) -> Result<(), OsError> {
            Ok(())
        }
    }
    let pool = StackPool::new(Nothing, StackClass::DEFAULT);
    assert_eq!(pool.take().unwrap_err().errno, libc::ENOMEM);
    let mut many = Vec::new();
    assert!(pool.take_many(3, &mut many).is_err());
    assert!(many.is_empty());
}

#[test]
fn the_pool_unmaps_its_regions_only_when_every_stack_is_back() {
    struct Shared(std::sync::Arc<Refusing>);
    // SAFETY: passes on to an implementation that keeps the promises.
    unsafe impl Os for Shared {
        fn map(&self, len: usize) -> Result<NonNull<u8>, OsError> {
            self.0.map(len)
        }
        unsafe fn unmap(&self, addr: NonNull<u8>, len: usize) {
            // SAFETY: the caller's obligations are the same.
            unsafe { self.0.unmap(addr, len) }
        }
        unsafe fn install_guard(&self, addr: NonNull<u8>, len: usize) -> Result<(), OsError> {
            // SAFETY: the caller's obligations are the same.
            unsafe { self.0.install_guard(addr, len) }
        }
        unsafe fn release(&self, addr: NonNull<u8>, len: usize) -> Result<(), OsError> {
            // SAFETY: the caller's obligations are the same.
            unsafe { self.0.release(addr, len) }
        }
    }
    let os = std::sync::Arc::new(Refusing::default());
    let pool = StackPool::new(Shared(os.clone()), StackClass::DEFAULT);
    let stack = pool.take().unwrap();
    assert!(os.mapped() > 0);
    pool.put(stack);
    drop(pool);
    assert_eq!(os.mapped(), 0);

    let pool = StackPool::new(Shared(os.clone()), StackClass::DEFAULT);
    let stack = pool.take().unwrap();
    drop(pool);
    assert!(os.mapped() > 0);
    // SAFETY: the region was left mapped because this stack is out.
    unsafe { stack.top().cast::<u64>().sub(1).write_volatile(1) };
}

#[test]
fn a_million_stacks_of_address_space_and_a_hundred_thousand_touched() {
    let pool = StackPool::new(Linux::default(), StackClass::DEFAULT);
    let mut stacks = Vec::new();
    pool.take_many(100_000, &mut stacks).unwrap();
    assert_eq!(stacks.len(), 100_000);
    for stack in &stacks {
        // SAFETY: the top word of a stack that this test owns.
        unsafe { stack.top().cast::<u64>().sub(1).write_volatile(1) };
    }
    pool.put_many(stacks);
    // The regions that hold a million stacks can be reserved; their guards are not installed here, for time.
    let mut reserved = 0;
    let mut maps = Vec::new();
    while reserved < 1_000_000 {
        let bytes = 16 << 30;
        maps.push((Linux::default().map(bytes).unwrap(), bytes));
        reserved += bytes / StackClass::DEFAULT.bytes();
    }
    for (base, bytes) in maps {
        // SAFETY: mapped just above, unused.
        unsafe { Linux::default().unmap(base, bytes) };
    }
}

#[test]
fn protection_guards_do_for_old_kernels() {
    let pool = StackPool::new(
        Linux {
            guard_method: GuardMethod::Protection,
        },
        StackClass::DEFAULT,
    );
    let stack = pool.take().unwrap();
    let range = stack.range();
    assert!(!readable(range.base));
    assert!(!readable(range.limit - 1));
    assert!(readable(range.limit));
    pool.put(stack);
}

#[test]
fn marker_guards_take_access_away_and_survive_a_release() {
    let pool = StackPool::new(Linux::default(), StackClass::DEFAULT);
    let stack = pool.take().unwrap();
    let range = stack.range();
    pool.release(&stack, range.top).unwrap();
    assert!(!readable(range.base));
    assert!(!readable(range.limit - 1));
    assert!(readable(range.limit));
    pool.put(stack);
}

#[test]
fn threads_take_and_put_at_once() {
    let pool = pool(StackClass::MIN);
    std::thread::scope(|scope| {
        for id in 0..4u64 {
            let pool = &pool;
            scope.spawn(move || {
                let mut mine = Vec::new();
                for round in 0..300 {
                    pool.take_many(1 + round % 7, &mut mine).unwrap();
                    for stack in &mine {
                        // SAFETY: the top word of a stack that this thread owns.
                        unsafe { stack.top().cast::<u64>().sub(1).write_volatile(id) };
                    }
                    std::thread::yield_now();
                    for stack in &mine {
                        // SAFETY: as above.
                        let written = unsafe { stack.top().cast::<u64>().sub(1).read_volatile() };
                        assert_eq!(written, id);
                        assert_eq!(pool.find(stack.range().limit), Some(stack.range()));
                    }
                    let keep = mine.len() / 2;
                    pool.put_many(mine.drain(keep..));
                }
                pool.put_many(mine);
            });
        }
    });
}

/// Asks the kernel to read one byte for us, which says EFAULT where a load would fault.
fn readable(addr: usize) -> bool {
    let mut byte = 0u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: addr as *mut _,
        iov_len: 1,
    };
    // SAFETY: the kernel checks the remote address and writes one byte to the local one.
    unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) == 1 }
}

/// The flags of the mapping that `address` lies in, as `/proc/self/smaps` has them.
fn mapping_flags(address: usize) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in text.lines() {
        let range = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'));
        if let Some((start, end)) = range {
            let number = |digits| usize::from_str_radix(digits, 16);
            if let (Ok(start), Ok(end)) = (number(start), number(end)) {
                inside = (start..end).contains(&address);
            }
        }
        if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
            return flags.split_whitespace().map(String::from).collect();
        }
    }
    Vec::new()
}

#[test]
fn only_the_depths_of_large_stacks_are_touched_in_huge_pages() {
    let huge = |address: usize| mapping_flags(address).contains(&"hg".to_owned());
    let large = StackPool::new(Linux::default(), StackClass::holding(LARGE_STACK).unwrap());
    let stack = large.take().unwrap();
    let range = stack.range();
    if std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        assert!(huge(range.limit));
        assert!(huge(range.top - SMALL_PAGES - PAGE));
    }
    assert!(!huge(range.top - SMALL_PAGES));
    assert!(!huge(range.top - 1));
    large.put(stack);
    let small = StackPool::new(Linux::default(), StackClass::DEFAULT);
    let stack = small.take().unwrap();
    assert!(!huge(stack.range().limit));
    small.put(stack);
}
