//! The sched and sysmon suites on goruntime.

mod blocking;
mod channels;
mod groups;
mod runtime;
mod sysmon;

use bench::Workload;
use bench::workloads::sched;
use std::process::ExitCode;

const OWN: &[Workload] = &[
    ("mpmc", channels::mpmc),
    ("select", channels::select),
    ("wait_group", groups::wait_group),
    ("blocking_calls", blocking::blocking_calls),
    ("blocking_short", blocking::blocking_short),
    ("cpu_and_io", blocking::cpu_and_io),
    ("idle", sysmon::idle),
    ("busy", sysmon::busy),
    ("hog_latency", sysmon::hog_latency),
    ("hog_network", sysmon::hog_network),
    ("blocked_handoff", sysmon::blocked_handoff),
    ("undeclared_handoff", sysmon::undeclared_handoff),
    ("after_peak", sysmon::after_peak),
];

#[goruntime::main]
fn main() -> ExitCode {
    let mut workloads = sched::workloads::<runtime::Ours>();
    workloads.extend(OWN);
    bench::main_of(&workloads)
}
