//! What is said when a goroutine panics: std's two lines, with the goroutine in the place of the thread, and below it what Go prints, the goroutine with its calls and the place where it was
//! started. std alone would speak of a thread without a name.
//!
//! As std does it: calls are there if `RUST_BACKTRACE` asks for them, all of them with `full`; otherwise a note says how to get them. A program that has a hook of its own for panics keeps it,
//! and nothing is added; so does one that sets a hook later.

use super::symbols::{Call, Symbols, is_hidden, write_calls};
use gosched::goroutine::{GoroutineInfo, GoroutineState};
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{self, PanicHookInfo};
use std::thread;

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Has panics of goroutines reported so from now on, unless the program has a hook.
pub(crate) fn report_panics() {
    // A thread that panics must not touch the hook.
    if thread::panicking() {
        return;
    }
    let (hook, of_std) = (panic::take_hook(), panic::take_hook());
    // Whoever asks twice gets std's own the second time. It has no state, so two of it are the same; the program's would be another function.
    if !same(&hook, &of_std) {
        panic::set_hook(hook);
        return;
    }
    panic::set_hook(Box::new(move |info| {
        if gosched::current_id().is_none() {
            of_std(info);
        } else {
            report(info);
        }
    }));
}

fn same(a: &Hook, b: &Hook) -> bool {
    size_of_val(&**a) == 0 && std::ptr::eq(&raw const **a, &raw const **b)
}

/// What `RUST_BACKTRACE` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Essential,
    All,
}

fn wanted() -> Wanted {
    match std::env::var_os("RUST_BACKTRACE") {
        None => Wanted::Nothing,
        Some(value) if value == "0" => Wanted::Nothing,
        Some(value) if value == "full" => Wanted::All,
        Some(_) => Wanted::Essential,
    }
}

fn report(info: &PanicHookInfo<'_>) {
    let text = text_of(info, wanted());
    // Nobody is left to be told of a failure.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn text_of(info: &PanicHookInfo<'_>, wanted: Wanted) -> String {
    let mut text = String::new();
    let goroutine = gosched::with_current(|id, name, site| GoroutineInfo {
        id,
        state: GoroutineState::Running,
        name: name.map(Into::into),
        site,
        waiting_for: gosched::Nanos::ZERO,
        m: None,
        locked: false,
        cpu: gosched::Nanos::ZERO,
        held_by: None,
    });
    let Some(goroutine) = goroutine else {
        return text;
    };
    // A string takes everything, here and below.
    let _ = write!(text, "\ngoroutine {}", goroutine.id);
    if let Some(name) = &goroutine.name {
        let _ = write!(text, " '{name}'");
    }
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("Box<dyn Any>");
    match info.location() {
        Some(place) => _ = writeln!(text, " panicked at {place}:\n{message}\n"),
        None => _ = writeln!(text, " panicked:\n{message}\n"),
    }
    let _ = goroutine.write(&mut text, |text| {
        if wanted == Wanted::Nothing {
            return Ok(());
        }
        let mut symbols = Symbols::default();
        write_calls(text, &calls(&mut symbols), wanted == Wanted::All)
    });
    if wanted == Wanted::Nothing {
        text += "note: run with `RUST_BACKTRACE=1` environment variable to display its calls\n";
    }
    text
}

/// The calls from the one that panicked outwards.
fn calls(symbols: &mut Symbols) -> Vec<Call> {
    let mut addresses = Vec::new();
    backtrace::trace(|frame| {
        let address = frame.ip() as usize;
        addresses.extend((address > 1).then(|| address - 1));
        true
    });
    let calls = addresses
        .iter()
        .flat_map(|&address| symbols.at(address).to_vec());
    // What the panic itself calls.
    let of_panic = |call: &Call| {
        let own = module_path!();
        is_hidden(call) || call.function.contains(own) || call.function.starts_with("backtrace::")
    };
    calls.skip_while(of_panic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_told_apart() {
        let f = || -> Hook { Box::new(|_| ()) };
        let (a, b): (Hook, Hook) = (f(), Box::new(|info| drop(info.to_string())));
        assert!(same(&a, &f()));
        assert!(!same(&a, &b));
        let kept = String::from("kept");
        let with_state = || -> Hook {
            let kept = kept.clone();
            Box::new(move |_| drop(kept.clone()))
        };
        assert!(!same(&with_state(), &with_state()));
    }
}
