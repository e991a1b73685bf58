//! Time as the keyspace counts it: milliseconds since the epoch, for deadlines are given and shown so.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The present. Before the epoch and after the year 292,278,994 it is the nearer of the two.
    pub fn now() -> UnixMillis {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Milliseconds from `self` to `later`, negative if it is earlier.
    pub fn until(self, later: UnixMillis) -> i64 {
        later.0.saturating_sub(self.0)
    }
}
