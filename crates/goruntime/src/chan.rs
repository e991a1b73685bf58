//! Channels: many senders, many receivers, from goroutines and plain threads; and [`select!`](crate::select).
//!
//! ```
//! use goruntime::{chan, go};
//!
//! let (tx, rx) = chan::bounded(8);
//! go(move || {
//!     for i in 1..=10 {
//!         tx.send(i).unwrap();
//!     }
//! });
//! assert_eq!(rx.iter().sum::<u32>(), 55);
//! ```

pub use gosched::chan::*;

/// Waits for the first of several channel operations and runs its arm.
///
/// | arm | chosen when |
/// | --- | --- |
/// | `recv(rx) -> pattern => body` | a value can be received, or the channel is closed: the pattern gets the `Result` |
/// | `send(tx, value) -> pattern => body` | the value can be sent, or the channel is closed: likewise |
/// | `default => body` | no other arm can go ahead now |
/// | `default(duration) => body` | no other arm could go ahead for that long |
///
/// Of several that can go ahead, one is chosen at random. Every arm's expressions are evaluated once, in order, before; the value of a `send` that is not
/// chosen is dropped. Without any arm it waits for ever.
///
/// ```
/// use goruntime::{chan, select, time::Duration};
///
/// let (tx, rx) = chan::bounded(1);
/// let (_never_tx, never) = chan::unbuffered::<u32>();
/// tx.send("hello").unwrap();
/// let greeting = select! {
///     recv(rx) -> word => word.unwrap(),
///     recv(never) -> _ => "impossible",
///     default(Duration::from_secs(1)) => "too late",
/// };
/// assert_eq!(greeting, "hello");
/// ```
#[macro_export]
macro_rules! select {
    ($($arms:tt)*) => {
        $crate::__select!(@parse () ($crate::chan::select::Wait::Forever, { unreachable!("a select without default ends with an arm") }) $($arms)*)
    };
}

/// The workings of [`select!`](crate::select): collects the arms, then makes the cases, waits, and runs the arm chosen.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    (@parse $done:tt $default:tt recv($rx:expr) -> $p:pat => $body:block , $($rest:tt)*) => {
        $crate::__select!(@arm $done $default ($crate::chan::select::RecvCase::new(&$rx)) $p, $body; $($rest)*)
    };
    (@parse $done:tt $default:tt recv($rx:expr) -> $p:pat => $body:block $($rest:tt)*) => {
        $crate::__select!(@arm $done $default ($crate::chan::select::RecvCase::new(&$rx)) $p, $body; $($rest)*)
    };
    (@parse $done:tt $default:tt recv($rx:expr) -> $p:pat => $body:expr , $($rest:tt)*) => {
        $crate::__select!(@arm $done $default ($crate::chan::select::RecvCase::new(&$rx)) $p, $body; $($rest)*)
    };
    (@parse $done:tt $default:tt recv($rx:expr) -> $p:pat => $body:expr) => {
        $crate::__select!(@arm $done $default ($crate::chan::select::RecvCase::new(&$rx)) $p, $body;)
    };
    (@parse $done:tt $default:tt send($tx:expr, $value:expr) -> $p:pat => $body:block , $($rest:tt)*) => {
        $crate::__select!(@arm $done $default ($crate::chan::select::SendCase::new(&$tx, $value)) $p, $body; $($rest)*)
    };
    (@parse $done:tt $default:tt send($tx:expr, $value:expr) -> $p:pat => $body:block $($rest:tt)*) => {
        $crate::__select!(@arm $done $default ($crate::chan::select::SendCase::new(&$tx, $value)) $p, $body; $($rest)*)
    };
    (@parse $done:tt $default:tt send($tx:expr, $value:expr) -> $p:pat => $body:expr , $($rest:tt)*) => {
        $crate::__select!(@arm $done $default ($crate::chan::select::SendCase::new(&$tx, $value)) $p, $body; $($rest)*)
    };
    (@parse $done:tt $default:tt send($tx:expr, $value:expr) -> $p:pat => $body:expr) => {
        $crate::__select!(@arm $done $default ($crate::chan::select::SendCase::new(&$tx, $value)) $p, $body;)
    };
    (@parse $done:tt $default:tt default => $body:expr $(,)?) => {
        $crate::__select!(@parse $done ($crate::chan::select::Wait::Not, $body))
    };
    (@parse $done:tt $default:tt default($within:expr) => $body:expr $(,)?) => {
        $crate::__select!(@parse $done ($crate::chan::until($within), $body))
    };
    // Each recursion gives `case` and `outcome` a hygiene of their own, so they are different variables.
    (@arm ($($done:tt)*) $default:tt $case:tt $p:pat, $body:expr; $($rest:tt)*) => {
        $crate::__select!(@parse ($($done)* { case outcome $case ($p) ($body) }) $default $($rest)*)
    };
    (@parse ($({ $case:ident $outcome:ident ($make:expr) $p:tt $body:tt })*) ($wait:expr, $default:expr)) => {{
        #[allow(unused_parens, unused_assignments, unused_mut, unused_variables)]
        let ($($outcome,)*) = {
            $(let $case = $make;)*
            let chosen = $crate::chan::select::select(&[$(&$case),*], $wait);
            let mut at = 0usize;
            $(
                let $outcome = if chosen == Some(at) { Some($case.take()) } else { None };
                at += 1;
            )*
            ($($outcome,)*)
        };
        $crate::__select!(@run ($default) $({ $outcome $p $body })*)
    }};
    (@run ($default:expr)) => { $default };
    (@run $default:tt { $outcome:ident ($p:pat) ($body:expr) } $($rest:tt)*) => {
        match $outcome {
            Some(result) => match result { $p => $body },
            None => $crate::__select!(@run $default $($rest)*),
        }
    };
}

/// A deadline so far from now; none if that is beyond what the clock can tell.
#[doc(hidden)]
pub fn until(within: std::time::Duration) -> select::Wait {
    match gosched::now().checked_add(within) {
        Some(deadline) => select::Wait::Until(deadline),
        None => select::Wait::Forever,
    }
}
