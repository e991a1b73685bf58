//! The sched and net suites on tokio, with its own channels, locks and timers, on its default runtime.
//!
//! Every workload runs as a task, on the runtime's workers, rather than on the thread that waits for the whole.

mod channels;
mod http;
mod locks;
mod mixed;
mod net;
mod tasks;
mod timers;

use bench::Workload;
use bench::workloads::sched::{Outcome, sizes};
use std::process::ExitCode;

const WORKLOADS: &[Workload] = &[
    ("spawn_join", |a| {
        run(tasks::spawn_join(a.scaled("count", sizes::SPAWN_JOIN)))
    }),
    ("spawn_many", |a| {
        run(tasks::spawn_many(a.scaled("count", sizes::SPAWN_MANY)))
    }),
    ("wait_group", |a| {
        run(tasks::wait_group(a.scaled("groups", sizes::GROUPS)))
    }),
    ("yield", |a| {
        run(tasks::yielding(a.scaled("yields", sizes::YIELDS)))
    }),
    ("skynet", |a| {
        run(tasks::skynet(a.scaled("leaves", sizes::LEAVES)))
    }),
    ("chain", |a| {
        let tasks = a.number("tasks", sizes::CHAIN);
        run(tasks::chain(
            tasks,
            a.scaled("messages", sizes::CHAIN_MESSAGES),
        ))
    }),
    ("parked_memory", |a| {
        run(tasks::parked_memory(a.scaled("count", sizes::PARKED)))
    }),
    ("ping_pong", |a| {
        run(channels::ping_pong(a.scaled("rounds", sizes::PING_PONG)))
    }),
    ("ping_pong_parallel", |a| {
        run(channels::ping_pong_parallel(
            a.scaled("rounds", sizes::PING_PONG_PARALLEL),
        ))
    }),
    ("mpsc", |a| {
        run(channels::mpsc(a.scaled("messages", sizes::MESSAGES)))
    }),
    ("fan_in", |a| {
        run(channels::fan_in(a.scaled("messages", sizes::MESSAGES_EACH)))
    }),
    ("select", |a| {
        run(channels::select(a.scaled("messages", sizes::SELECTED)))
    }),
    ("mutex", |a| {
        run(locks::mutex(a.scaled("times", sizes::LOCKINGS)))
    }),
    ("rwlock", |a| {
        run(locks::rw_lock(a.scaled("times", sizes::LOCKINGS)))
    }),
    ("timers", |a| {
        run(timers::timers(a.scaled("sleepers", sizes::SLEEPERS)))
    }),
    ("timer_reset", |a| {
        run(timers::timer_reset(a.scaled("messages", sizes::TIMEOUTS)))
    }),
    ("sleep_precision", |a| {
        run(timers::sleep_precision(
            a.scaled("sleeps", sizes::SHORT_SLEEPS),
        ))
    }),
    ("blocking_calls", |a| {
        run(mixed::blocking_calls(
            a.scaled("calls", sizes::BLOCKING_CALLS),
        ))
    }),
    ("blocking_short", |a| {
        run(mixed::blocking_short(
            a.scaled("calls", sizes::BLOCKING_SHORT),
        ))
    }),
    ("cpu_and_io", |a| {
        run(mixed::cpu_and_io(a.scaled("tasks", sizes::SHORT_TASKS)))
    }),
    ("echo", |a| net::echo("echo", a)),
    ("reconnect", |a| net::echo("reconnect", a)),
    ("http", http::http),
];

fn main() -> ExitCode {
    bench::main_of(WORKLOADS)
}

/// Runs a workload as a task of a runtime with default settings.
fn run(workload: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    runtime()?.block_on(async {
        tokio::spawn(workload)
            .await
            .map_err(|why| why.to_string())?
    })
}

/// A runtime with default settings.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Runtime::new().map_err(|why| format!("cannot start tokio: {why}"))
}
