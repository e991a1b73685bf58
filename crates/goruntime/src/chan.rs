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

/// Waits for the first of several operations on channels, timers and contexts, and runs its arm.
///
/// | arm | chosen when |
/// | --- | --- |
/// | `recv(rx) -> pattern => body` | a value can be received, or the channel is closed: the pattern gets the `Result` |
/// | `recv(timer) -> pattern => body` | the [timer](crate::time::Timer) or [ticker](crate::time::Ticker) is due: the pattern gets the `Instant` |
/// | `recv(ctx.done()) -> _ => body` | the [context](crate::context::Context) is over |
/// | `send(tx, value) -> pattern => body` | the value can be sent, or the channel is closed: the pattern gets the `Result` |
/// | `default => body` | no other arm can go ahead now |
/// | `default(duration) => body` | no other arm could go ahead for that long |
///
/// Of several that can go ahead, one is chosen at random. Every arm's expressions are evaluated once, in order, before; the value of a `send` that is not
/// chosen is dropped. Without any arm it waits for ever.
///
/// Of an `Option` of a channel or timer `None` is never ready: so an arm of a loop is switched off, as with Go's nil channels.
///
/// ```
/// use goruntime::{chan, context::Context, select, time::{Duration, Ticker, after}};
///
/// let (tx, rx) = chan::bounded(1);
/// let ticker = Ticker::new(Duration::from_secs(60));
/// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_secs(3600));
/// tx.send("hello").unwrap();
/// let greeting = select! {
///     recv(rx) -> word => word.unwrap(),
///     recv(ticker) -> _time => "a minute has passed",
///     recv(after(Duration::from_secs(600))) -> _ => "ten minutes",
///     recv(ctx.done()) -> _ => "not wanted any more",
/// };
/// assert_eq!(greeting, "hello");
/// ```
///
/// What is neither is named in an error:
///
/// ```compile_fail,E0277
/// goruntime::select! { recv("a word") -> _ => {} }
/// ```
///
/// ```compile_fail
/// goruntime::select! { receive(rx) -> _ => {} } // an arm is recv(..), send(..), default or default(..)
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
    // A body that is a block needs no comma behind it, any other does unless it is the last.
    (@parse $done:tt $default:tt recv($rx:expr) -> $p:pat => $body:block $(, $($rest:tt)*)?) => {
        $crate::__select!(@arm $done $default ((&$rx,) recv) $p, $body; $($($rest)*)?)
    };
    (@parse $done:tt $default:tt recv($rx:expr) -> $p:pat => $body:block $($rest:tt)*) => {
        $crate::__select!(@arm $done $default ((&$rx,) recv) $p, $body; $($rest)*)
    };
    (@parse $done:tt $default:tt recv($rx:expr) -> $p:pat => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@arm $done $default ((&$rx,) recv) $p, $body; $($($rest)*)?)
    };
    (@parse $done:tt $default:tt send($tx:expr, $value:expr) -> $p:pat => $body:block $(, $($rest:tt)*)?) => {
        $crate::__select!(@arm $done $default ((&$tx, $value) send) $p, $body; $($($rest)*)?)
    };
    (@parse $done:tt $default:tt send($tx:expr, $value:expr) -> $p:pat => $body:block $($rest:tt)*) => {
        $crate::__select!(@arm $done $default ((&$tx, $value) send) $p, $body; $($rest)*)
    };
    (@parse $done:tt $default:tt send($tx:expr, $value:expr) -> $p:pat => $body:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@arm $done $default ((&$tx, $value) send) $p, $body; $($($rest)*)?)
    };
    (@parse $done:tt $default:tt default => $body:expr $(,)?) => {
        $crate::__select!(@cases $done ($crate::chan::select::Wait::Not, $body))
    };
    (@parse $done:tt $default:tt default($within:expr) => $body:expr $(,)?) => {
        $crate::__select!(@cases $done ($crate::chan::until($within), $body))
    };
    (@parse $done:tt $default:tt) => {
        $crate::__select!(@cases $done $default)
    };
    (@parse $done:tt $default:tt default $($rest:tt)*) => {
        compile_error!("the last arm of a select! is `default => body` or `default(duration) => body`")
    };
    (@parse $done:tt $default:tt $($rest:tt)*) => {
        compile_error!(concat!(
            "an arm of a select! is `recv(from) -> pattern => body` or `send(to, value) -> pattern => body`, and arms are separated by commas; not `",
            stringify!($($rest)*), "`"
        ))
    };
    // Each recursion gives `ends`, `case` and `outcome` a hygiene of their own, so they are different variables.
    (@arm ($($done:tt)*) $default:tt ($ends:tt $kind:ident) $p:pat, $body:expr; $($rest:tt)*) => {
        $crate::__select!(@parse ($($done)* { ends case outcome $ends $kind ($p) ($body) }) $default $($rest)*)
    };
    (@cases ($({ $ends:ident $case:ident $outcome:ident $make:tt $kind:ident $p:tt $body:tt })*) ($wait:expr, $default:expr)) => {{
        #[allow(unused_parens, unused_assignments, unused_mut, unused_variables)]
        let ($($outcome,)*) = {
            // First what the arms name, and for as long as the cases: it may be a temporary.
            $(let $ends = $make;)*
            $(let $case = $crate::__select!(@case $kind $ends);)*
            let chosen = $crate::chan::select::select(&[$(&$case),*], $wait);
            let mut at = 0usize;
            $(
                let $outcome = if chosen == Some(at) {
                    Some($crate::chan::select::Chosen::outcome(&$case))
                } else {
                    None
                };
                at += 1;
            )*
            ($($outcome,)*)
        };
        $crate::__select!(@run ($default) $({ $outcome $p $body })*)
    }};
    (@case recv $ends:ident) => { $crate::chan::select::Source::recv_case($ends.0) };
    (@case send $ends:ident) => { $crate::chan::select::Sink::send_case($ends.0, $ends.1) };
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
