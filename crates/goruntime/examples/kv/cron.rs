//! What has to be done now and then, ten times a second, by a goroutine of its own: expire what nobody asks for, finish resizing,
//! measure the rate.
//!
//! Invariant: the keyspace is never locked for longer than one small step, so that clients hardly wait.

use crate::clock::UnixMillis;
use crate::server::Server;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(100);

/// Of each period, the part that may go into expiring.
const EXPIRE_TIME: Duration = Duration::from_millis(25);

/// Of each period, the part that may go into resizing.
const REHASH_TIME: Duration = Duration::from_millis(1);

/// Keys looked at in one step.
const SAMPLE: usize = 20;

/// The rate is that of this many periods.
const RATE_PERIODS: usize = 16;

/// Runs as long as the process.
pub fn run(server: &'static Server) {
    let mut rate = Rate {
        samples: VecDeque::new(),
    };
    loop {
        goruntime::time::sleep(PERIOD);
        rate.sample(server);
        expire(server);
        rehash(server);
    }
}

/// Goes on as long as more than one key in ten of a sample has expired, for then there are many more (Redis's `expire.c`).
fn expire(server: &Server) {
    let start = Instant::now();
    for db in 0..crate::db::DATABASES {
        while start.elapsed() < EXPIRE_TIME {
            let sampled = server.keyspace.lock().dbs[db].expire_some(SAMPLE, UnixMillis::now());
            if sampled.expired * 10 <= sampled.seen {
                break;
            }
        }
    }
}

/// Every operation moves a little, but a database that is left alone would stay between two tables.
fn rehash(server: &Server) {
    let start = Instant::now();
    for db in 0..crate::db::DATABASES {
        while start.elapsed() < REHASH_TIME && server.keyspace.lock().dbs[db].rehash(SAMPLE) {}
    }
}

struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn sample(&mut self, server: &Server) {
        let (now, count) = (Instant::now(), server.stats.commands.load(Relaxed));
        self.samples.push_back((now, count));
        if self.samples.len() > RATE_PERIODS {
            self.samples.pop_front();
        }
        if let Some((then, before)) = self.samples.front() {
            let millis = now.duration_since(*then).as_millis().max(1) as u64;
            // The count may have been reset in between.
            server
                .stats
                .rate
                .store(count.saturating_sub(*before) * 1000 / millis, Relaxed);
        }
    }
}
