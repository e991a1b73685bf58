//! G, M and P, and what they are made of.
//!
//! The three refer to each other by nature, so this folder is one layer: its files may use one
//! another, the rest of the crate uses it, and it uses nothing above. Nothing in it depends on the
//! environment; the parts that do (a goroutine's context, an M's own) are wrapped around these in
//! `sched`.

pub(crate) mod body;
pub(crate) mod g;
pub(crate) mod global;
pub(crate) mod m;
pub(crate) mod p;
pub(crate) mod pace;
pub(crate) mod ring;
pub(crate) mod timer;

/// For tests: a value that lives for ever, as Gs, Ms and Ps do, and that a leak checker knows to be wanted.
#[cfg(test)]
pub(crate) fn forever<T: Sync + 'static>(value: T) -> &'static T {
    static KEPT: std::sync::Mutex<Vec<&'static dyn Sync>> = std::sync::Mutex::new(Vec::new());
    let value: &'static T = Box::leak(Box::new(value));
    KEPT.lock().unwrap().push(value);
    value
}
