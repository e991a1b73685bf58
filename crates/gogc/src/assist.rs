//! What mutators owe for what they allocate while marking goes on.
//!
//! One account for all: allocation takes from it, by the assist ratio, and marking, whoever does it, puts in. What background workers do beyond
//! what is owed is the credit that keeps mutators from having to assist; when it is used up, whoever allocates next marks for a while. (Go keeps an account per
//! goroutine and one of the workers', which assists steal from; with one account there is nothing to steal, and a goroutine that
//! allocates little hardly ever meets it in the red.)
//!
//! **Bounds.** Nobody assists for less than [`LEAST`], which would cost more in fixed costs than it brings, nor for more than [`MOST`] at a time, so that an
//! allocation never takes long. The debt that remains is the next allocation's.
//!
//! Invariant: the balance is the sum of all that was put in less all that was taken since the last [`open`](Account::open): each is one
//! read-modify-write.

use crate::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::units::Bytes;

/// The debt from which on assists are asked for, in bytes of work.
pub(crate) const LEAST: i64 = 16 << 10;

/// The work of one assist at most: a hundred microseconds, or some where each object is a cache miss.
pub(crate) const MOST: i64 = 64 << 10;

/// The account.
#[derive(Default)]
pub(crate) struct Account {
    balance: AtomicI64,
    /// Bytes of work for a byte allocated, as the bits of an `f64`. 0 when nothing is owed.
    ratio: AtomicU64,
}

impl Account {
    /// A cycle begins.
    pub(crate) fn open(&self, ratio: f64) {
        self.balance.store(0, Ordering::Relaxed);
        self.set_ratio(ratio);
    }

    /// From now on a byte costs so much. If nothing, what is owed is forgiven: collection has to stand back.
    pub(crate) fn set_ratio(&self, ratio: f64) {
        self.ratio.store(ratio.to_bits(), Ordering::Relaxed);
        if ratio == 0.0 {
            self.balance.fetch_max(0, Ordering::Relaxed);
        }
    }

    /// Whether allocation costs anything at present.
    pub(crate) fn is_charging(&self) -> bool {
        self.ratio.load(Ordering::Relaxed) != 0
    }

    /// Whether enough is owed to assist for.
    pub(crate) fn owes(&self) -> bool {
        self.balance.load(Ordering::Relaxed) <= -LEAST
    }

    /// Takes what `allocated` bytes cost. Returns how much work the caller should do now, if any.
    pub(crate) fn charge(&self, allocated: Bytes) -> Option<Bytes> {
        let ratio = f64::from_bits(self.ratio.load(Ordering::Relaxed));
        let cost = (allocated.0 as f64 * ratio) as i64;
        let balance = self.add(-cost);
        (balance <= -LEAST).then(|| Bytes(balance.unsigned_abs().min(MOST as u64)))
    }

    /// Puts in work that was done.
    pub(crate) fn earn(&self, work: Bytes) {
        self.add(i64::try_from(work.0).unwrap_or(i64::MAX));
    }

    fn add(&self, amount: i64) -> i64 {
        #[cfg(explore)]
        if goexplore::planted("the account is read and then written") {
            let balance = self.balance.load(Ordering::Relaxed) + amount;
            self.balance.store(balance, Ordering::Relaxed);
            return balance;
        }
        self.balance
            .fetch_add(amount, Ordering::Relaxed)
            .wrapping_add(amount)
    }

    /// What is left; negative if work is owed.
    #[cfg(test)]
    pub(crate) fn balance(&self) -> i64 {
        self.balance.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_used_before_anybody_assists() {
        let account = Account::default();
        account.open(2.0);
        account.earn(Bytes(100_000));
        assert_eq!(account.charge(Bytes(50_000)), None);
        assert_eq!(account.balance(), 0);
        assert_eq!(
            account.charge(Bytes(1000)),
            None,
            "too little to assist for"
        );
        assert_eq!(
            account.charge(Bytes(LEAST as u64)),
            Some(Bytes(2000 + 2 * LEAST as u64))
        );
    }

    #[test]
    fn one_assist_is_bounded_and_the_debt_stays() {
        let account = Account::default();
        account.open(10.0);
        assert_eq!(account.charge(Bytes(1 << 20)), Some(Bytes(MOST as u64)));
        account.earn(Bytes(MOST as u64));
        assert_eq!(account.charge(Bytes(0)), Some(Bytes(MOST as u64)));
    }

    #[test]
    fn nothing_is_owed_at_no_ratio() {
        let account = Account::default();
        account.open(0.0);
        assert_eq!(account.charge(Bytes(u64::MAX)), None);
        assert!(!account.is_charging());
        account.set_ratio(1.0);
        account.charge(Bytes(1 << 20));
        assert!(account.owes() && account.is_charging());
        account.set_ratio(0.0);
        assert!(!account.owes());
        account.earn(Bytes(5));
        account.set_ratio(0.0);
        assert_eq!(account.balance(), 5, "credit stays");
    }
}
