//! `GODEBUG=schedtrace=N`: Go's line formats, from a snapshot.

use std::fmt::{self, Write};

use crate::env::Env;
use crate::goroutine::GoroutineState;
use crate::sched::{Scheduler, Snapshot};

/// One line as Go's `schedtrace=N` prints it, newline included.
///
/// # Errors
/// Those of `out`.
pub fn write_line(out: &mut impl Write, s: &Snapshot) -> fmt::Result {
    write_head(out, s)?;
    out.write_str(" [ ")?;
    for p in &s.procs {
        write!(out, "{} ", p.queued)?;
    }
    out.write_str("] schedticks=[ ")?;
    for p in &s.procs {
        write!(out, "{} ", p.tick)?;
    }
    out.write_str("]\n")
}

/// The lines that Go prints with `scheddetail=1` as well: each P, M and G.
///
/// # Errors
/// Those of `out`.
pub fn write_detail<V: Env>(
    out: &mut impl Write,
    s: &Snapshot,
    scheduler: &'static Scheduler<V>,
) -> fmt::Result {
    write_head(out, s)?;
    let locked = s.idle_locked_machines;
    writeln!(
        out,
        " gcwaiting=false nmidlelocked={locked} stopwait=0 sysmonwait=false"
    )?;
    for (i, p) in s.procs.iter().enumerate() {
        // Go's numbers: 0 is idle, 1 is running.
        let status = u8::from(p.m.is_some());
        write!(
            out,
            "  P{i}: status={status} schedtick={} syscalltick={} m=",
            p.tick, p.syscall_tick
        )?;
        write_or_nil(out, p.m)?;
        writeln!(
            out,
            " runqsize={} gfreecnt={} timerslen={}",
            p.queued, p.free_gs, p.timers
        )?;
    }
    let mut result = Ok(());
    scheduler.for_each_machine(|m| {
        result = result.and_then(|()| {
            write!(out, "  M{}: p=", m.id)?;
            write_or_nil(out, m.p)?;
            out.write_str(" curg=")?;
            write_or_nil(out, m.current)?;
            write!(
                out,
                " mallocing=0 throwing=0 preemptoff= locks=0 dying=0 spinning={} blocked={} lockedg=",
                m.spinning, m.blocked
            )?;
            write_or_nil(out, m.locked)?;
            out.write_str("\n")
        });
    });
    result?;
    let mut result = Ok(());
    scheduler.for_each_goroutine(|g| {
        let (status, reason) = match g.state {
            GoroutineState::Runnable => (1, ""),
            GoroutineState::Running => (2, ""),
            GoroutineState::Syscall => (3, ""),
            GoroutineState::Waiting(reason) => (4, reason.as_str()),
        };
        result = result.and_then(|()| {
            write!(out, "  G{}: status={status}({reason}) m=", g.id)?;
            write_or_nil(out, g.m.filter(|_| matches!(status, 2 | 3)))?;
            out.write_str(" lockedm=")?;
            write_or_nil(out, g.m.filter(|_| g.locked))?;
            out.write_str("\n")
        });
    });
    result
}

fn write_head(out: &mut impl Write, s: &Snapshot) -> fmt::Result {
    write!(
        out,
        "SCHED {}ms: gomaxprocs={} idleprocs={} threads={} spinningthreads={} needspinning=0 idlethreads={} runqueue={}",
        s.uptime.0 / 1_000_000,
        s.procs.len(),
        s.idle_procs,
        s.machines,
        s.spinning,
        s.idle_machines,
        s.global_queue,
    )
}

fn write_or_nil(out: &mut impl Write, value: Option<impl fmt::Display>) -> fmt::Result {
    match value {
        Some(value) => write!(out, "{value}"),
        None => out.write_str("nil"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::ProcStatus;
    use crate::time::Nanos;

    #[test]
    fn the_line_is_gos() {
        let proc = ProcStatus {
            queued: 3,
            tick: 17,
            ..ProcStatus::default()
        };
        let snapshot = Snapshot {
            uptime: Nanos::from_millis(1009),
            machines: 5,
            idle_machines: 2,
            spinning: 1,
            idle_procs: 1,
            global_queue: 4,
            procs: vec![proc, ProcStatus::default()],
            ..Snapshot::default()
        };
        let mut line = String::new();
        write_line(&mut line, &snapshot).unwrap();
        assert_eq!(
            line,
            "SCHED 1009ms: gomaxprocs=2 idleprocs=1 threads=5 spinningthreads=1 needspinning=0 idlethreads=2 \
             runqueue=4 [ 3 0 ] schedticks=[ 17 0 ]\n"
        );
    }
}
