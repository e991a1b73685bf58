//! The allocator alone under everything at once, round after round, for as many seconds as the argument says.
//!
//! Threads come and go, allocate in every way, of sizes from a word to eight megabytes, free what others allocated, and look at every byte of a block before it
//! is freed or moved. Meanwhile the process forks, and its address space is limited to what it has for a while, so that memory is refused. At
//! the end of each round everything is freed: the heap has then to say so, and resident memory to fall to about what it was at the start. Each ten seconds a line says how
//! it stands; what is wrong ends the process.
//!
//! Invariant: threads that work allocate nothing but blocks under test, since what is refused to them must not be fatal.

use gomem::{GoMalloc, attach_thread, heap};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: GoMalloc = GoMalloc::new();

const THREADS: usize = 6;
/// Blocks that a thread has at most, and bytes.
const OWN: usize = 400;
const OWN_BYTES: usize = 48 << 20;
/// Blocks on their way from one thread to another.
const SHARED: usize = 1024;
const ROUND: Duration = Duration::from_secs(5);
/// Resident memory that may be left over the start's.
const LEFT: u64 = 24 << 20;
/// How long it may take to fall.
const FALL: Duration = Duration::from_secs(20);

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (((self.next() >> 32) * n as u64) >> 32) as usize
    }

    /// Mostly small, now and then large: each size about as often as it is in programs.
    fn size(&mut self) -> usize {
        match self.below(1000) {
            0..3 => 1 + self.below(8 << 20),
            3..30 => 1 + self.below(300_000),
            30..200 => 1 + self.below(33_000),
            200..500 => 1 + self.below(1500),
            _ => 1 + self.below(200),
        }
    }
}

/// A block, whose bytes follow from `seed`.
#[derive(Clone, Copy)]
struct Block {
    start: NonNull<u8>,
    size: usize,
    align: usize,
    seed: u64,
}

// SAFETY: a block belongs to whoever has the value.
unsafe impl Send for Block {}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Block {
    /// `None` if memory is refused.
    fn new(random: &mut Random) -> Option<Block> {
        let size = random.size();
        let (align, zeroed) = match random.below(20) {
            0 => (1 << (4 + random.below(13)), false),
            1..4 => (16, true),
            _ => (16, false),
        };
        let start = if zeroed {
            heap().calloc(size, align)?
        } else {
            heap().malloc(size, align)?
        };
        assert!(
            start.addr().get().is_multiple_of(align.min(8)),
            "misaligned"
        );
        assert!(
            align <= 16 || start.addr().get().is_multiple_of(align),
            "misaligned"
        );
        let mut block = Block {
            start,
            size,
            align,
            seed: random.next(),
        };
        if zeroed {
            assert!(block.bytes().iter().all(|&byte| byte == 0), "not zero");
        }
        block.fill();
        Some(block)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: a block of that size, whoever has the value.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }

    fn fill(&mut self) {
        let mut word = self.seed;
        for chunk in self.bytes().chunks_mut(8) {
            word = word.wrapping_add(STEP);
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }

    /// Looks at the first bytes, as many as `size` says.
    fn check(&mut self, size: usize) {
        let (mut word, start) = (self.seed, self.start);
        for (at, chunk) in self.bytes()[..size].chunks(8).enumerate() {
            word = word.wrapping_add(STEP);
            assert_eq!(
                chunk,
                &word.to_le_bytes()[..chunk.len()],
                "block of {size} bytes at {start:p} was overwritten at byte {}",
                8 * at
            );
        }
    }

    fn free(mut self) {
        self.check(self.size);
        // SAFETY: ours; freed once.
        unsafe { heap().free(self.start) };
    }

    /// False if memory is refused: the block is as it was.
    fn resize(&mut self, random: &mut Random) -> bool {
        let old = self.size;
        let new = match random.below(4) {
            0 => random.size(),
            1 => old / 2 + 1,
            _ => (old * 2).min(16 << 20),
        };
        // SAFETY: ours.
        let Some(start) = (unsafe { heap().realloc(self.start, new, self.align.min(16)) }) else {
            self.check(old);
            return false;
        };
        *self = Block {
            start,
            size: new,
            align: 16,
            ..*self
        };
        self.check(new.min(old));
        self.seed = random.next();
        self.fill();
        true
    }
}

struct Soak {
    shared: [Mutex<Option<Block>>; SHARED],
    over: AtomicBool,
    blocks: AtomicU64,
    refused: AtomicU64,
}

impl Soak {
    fn put(&self, at: usize, block: Option<Block>) {
        let old = match self.shared[at].lock() {
            Ok(mut slot) => std::mem::replace(&mut *slot, block),
            Err(_) => panic!("another thread failed"),
        };
        if let Some(old) = old {
            old.free();
        }
    }

    /// A thread's life.
    fn work(&self, seed: u64) {
        let mut random = Random(seed.wrapping_mul(STEP) | 1);
        let mut own: [Option<Block>; OWN] = [None; OWN];
        let mut bytes = 0;
        let operations = 2000 + random.below(60_000);
        for done in 0..operations {
            if done % 64 == 0 && self.over.load(Relaxed) {
                break;
            }
            let slot = &mut own[random.below(OWN)];
            let refused = match (*slot, random.below(10)) {
                (None, _) if bytes > OWN_BYTES => continue,
                (None, _) => {
                    *slot = Block::new(&mut random);
                    bytes += slot.map_or(0, |block| block.size);
                    self.blocks.fetch_add(1, Relaxed);
                    slot.is_none()
                }
                (Some(mut block), 0..2) => {
                    bytes -= block.size;
                    let had = block.resize(&mut random);
                    bytes += block.size;
                    *slot = Some(block);
                    !had
                }
                (Some(block), 2..5) => {
                    bytes -= block.size;
                    *slot = None;
                    self.put(random.below(SHARED), Some(block));
                    false
                }
                (Some(block), _) => {
                    bytes -= block.size;
                    *slot = None;
                    block.free();
                    false
                }
            };
            self.refused.fetch_add(u64::from(refused), Relaxed);
        }
        // Half of what is left goes to others, who are there longer.
        for (n, block) in own.into_iter().flatten().enumerate() {
            if n % 2 == 0 {
                self.put(random.below(SHARED), Some(block));
            } else {
                block.free();
            }
        }
    }

    /// What a child of `fork` does: goes on with its copy, and runs out of memory.
    fn in_child(&self, seed: u64) {
        let mut random = Random(seed.wrapping_mul(STEP) | 1);
        let mut own: [Option<Block>; OWN] = [None; OWN];
        for _ in 0..3000 {
            match own[random.below(OWN)].take() {
                Some(block) => block.free(),
                None => own[random.below(OWN)] = Block::new(&mut random),
            }
        }
        own.into_iter().flatten().for_each(Block::free);
        // Those of the parent's that were in nobody's hands.
        for slot in &self.shared {
            if let Ok(mut slot) = slot.try_lock()
                && let Some(block) = slot.take()
            {
                block.free();
            }
        }
        assert!(fill_up(Duration::ZERO) > 0);
    }

    fn fork(&self, seed: u64) -> Result<(), String> {
        // SAFETY: the child uses the heap, which is made for that, and system calls.
        let child = unsafe { libc::fork() };
        match child {
            -1 => return Err("fork was refused".to_owned()),
            0 => {
                let went_well = std::panic::catch_unwind(|| self.in_child(seed)).is_ok();
                // SAFETY: ends the child, without what the parent has to do at its own end.
                unsafe { libc::_exit(i32::from(!went_well)) }
            }
            _ => {}
        }
        let begin = Instant::now();
        loop {
            let mut status = 0;
            // SAFETY: a place for the status.
            match unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } {
                0 if begin.elapsed() < Duration::from_secs(120) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                0 => return Err("a child hangs".to_owned()),
                _ if status == 0 => return Ok(()),
                _ => return Err(format!("a child ended with status {status:#x}")),
            }
        }
    }
}

/// Limits the address space.
fn limit(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a limit for this process.
    unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
}

/// Limits the address space to what the heap has, takes all that is left, and keeps it for that long. Returns how many blocks that were.
fn fill_up(time: Duration) -> usize {
    limit(heap().stats().heap_sys as u64);
    let (mut first, mut n): (*mut u8, _) = (std::ptr::null_mut(), 0);
    for size in [1 << 20, 100_000, 20_000, 500] {
        while let Some(block) = heap().malloc(size, 16) {
            // SAFETY: ours; a list through the blocks.
            unsafe { block.cast::<*mut u8>().write(first) };
            (first, n) = (block.as_ptr(), n + 1);
        }
    }
    std::thread::sleep(time);
    while let Some(block) = NonNull::new(first) {
        // SAFETY: ours; freed once.
        unsafe {
            first = block.cast::<*mut u8>().read();
            heap().free(block);
        }
    }
    limit(libc::RLIM_INFINITY);
    n
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// One round: threads until its end, then nothing is left.
fn round(soak: &Soak, number: u64, forks: &mut u64) -> Result<(), String> {
    let begin = Instant::now();
    soak.over.store(false, Relaxed);
    let (mut seed, mut turn) = (number << 20, 0u32);
    std::thread::scope(|scope| {
        let mut threads: Vec<std::thread::ScopedJoinHandle<'_, ()>> = Vec::with_capacity(THREADS);
        while begin.elapsed() < ROUND {
            threads.retain(|thread| !thread.is_finished());
            while threads.len() < THREADS {
                seed += 1;
                threads.push(scope.spawn(move || soak.work(seed)));
            }
            std::thread::sleep(Duration::from_millis(20));
            turn += 1;
            match turn % 40 {
                20 => {
                    *forks += 1;
                    soak.fork(seed)?;
                }
                0 => {
                    fill_up(Duration::from_millis(100));
                }
                _ => {}
            }
        }
        soak.over.store(true, Relaxed);
        for thread in threads {
            thread.join().map_err(|_| "a thread failed".to_owned())?;
        }
        Ok::<(), String>(())
    })?;
    (0..SHARED).for_each(|at| soak.put(at, None));
    Ok(())
}

fn run(seconds: u64) -> Result<(), String> {
    attach_thread();
    let begin = Instant::now();
    let soak = Box::new(Soak {
        shared: [const { Mutex::new(None) }; SHARED],
        over: AtomicBool::new(false),
        blocks: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    let (live, start) = (heap().stats().malloc_alloc, resident());
    let (mut rounds, mut forks, mut told) = (0, 0, 0);
    while begin.elapsed().as_secs() < seconds {
        round(&soak, rounds, &mut forks)?;
        rounds += 1;
        let left = heap().stats().malloc_alloc.saturating_sub(live);
        if left > 1 << 20 {
            return Err(format!("{left} bytes more are allocated than at the start"));
        }
        let peak = resident();
        let freed = Instant::now();
        while resident() > start + LEFT {
            if freed.elapsed() > FALL {
                let (now, stats) = (resident(), heap().stats());
                return Err(format!(
                    "{now} bytes are resident, at the start {start}; {stats:?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let second = begin.elapsed().as_secs();
        if second >= told + 10 || rounds == 1 {
            told = second;
            println!(
                "soak second {second} rounds {rounds} blocks {} refused {} forks {forks} rss {} MB, {} MB {:.1} s later",
                soak.blocks.load(Relaxed),
                soak.refused.load(Relaxed),
                peak >> 20,
                resident() >> 20,
                freed.elapsed().as_secs_f64()
            );
        }
    }
    println!("soak over after {rounds} rounds");
    if soak.refused.load(Relaxed) == 0 {
        return Err("no memory was ever refused: the limit has no effect".to_owned());
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    let seconds = std::env::args().nth(1).and_then(|word| word.parse().ok());
    match run(seconds.unwrap_or(60)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(why) => {
            println!("soak failed: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}
