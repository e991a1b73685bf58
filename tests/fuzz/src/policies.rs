//! The two controllers that decide on plain data: they must stay sane whatever they are told.
//!
//! Readings are bounded by what a machine can have: 2^50 bytes, and a century in nanoseconds.

use crate::bytes::Bytes;
use gogc::pacer::CycleReport;
use gogc::{Config, GcPercent, HeapUsage, Pacer, Reason};
use gosysmon::{Monitor, Nanos, Observation, PObservation, PState, Sleep};

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    match bytes.byte() {
        Some(0..128) => drop(pacer(&mut bytes)),
        Some(_) => drop(monitor(&mut bytes)),
        None => {}
    }
}

const SIZE_BITS: u32 = 50;
const TIME_BITS: u32 = 61;

fn size(bytes: &mut Bytes) -> Option<gogc::Bytes> {
    bytes.magnitude(SIZE_BITS).map(gogc::Bytes)
}

fn usage(bytes: &mut Bytes) -> Option<HeapUsage> {
    Some(HeapUsage {
        collected: size(bytes)?,
        external: size(bytes)?,
        mapped: size(bytes)?,
        idle: size(bytes)?,
    })
}

fn config(bytes: &mut Bytes) -> Option<Config> {
    let percent = match bytes.byte()? {
        0..32 => GcPercent::Off,
        _ => GcPercent::Percent(bytes.magnitude(31)? as u32),
    };
    let limit = bytes.byte()? % 2 == 0;
    Some(Config {
        percent,
        memory_limit: if limit { Some(size(bytes)?) } else { None },
    })
}

fn pacer(bytes: &mut Bytes) -> Option<()> {
    let mut pacer = Pacer::new(config(bytes)?, &usage(bytes)?);
    let mut now = gogc::Nanos(0);
    loop {
        let usage = usage(bytes)?;
        match bytes.byte()? % 4 {
            0 => pacer.reconfigure(config(bytes)?, &usage),
            1 => pacer.revise(&usage),
            2 => pacer.attempt_failed(now),
            _ => {
                let ended = gogc::Nanos(now.0.max(bytes.magnitude(TIME_BITS)?));
                let took_time = ended > now;
                let reason = pacer.due(&usage, now).unwrap_or(Reason::Forced);
                pacer.finish_cycle(&CycleReport {
                    reason,
                    started: now,
                    ended,
                    usage,
                    roots: size(bytes)?,
                    concurrent: None,
                });
                now = ended;
                let live = usage.collected.saturating_add(usage.external);
                assert!(pacer.goal() >= live, "a goal below what is live");
                if reason == Reason::MemoryLimit && took_time {
                    let again = pacer.due(&usage, now);
                    assert_ne!(again, Some(Reason::MemoryLimit), "asked for again at once");
                }
            }
        }
    }
}

fn monitor(bytes: &mut Bytes) -> Option<()> {
    const PS: usize = 3;
    let config = gosysmon::Config::default();
    let mut monitor = Monitor::new(config, PS);
    let mut observation = Observation::with_capacity(PS);
    loop {
        let flags = bytes.byte()?;
        let mut now = Nanos(observation.now.0 + bytes.magnitude(40)?);
        if flags & 64 != 0 {
            now = Nanos(now.0.max(bytes.magnitude(TIME_BITS)?));
        }
        observation.now = now;
        observation.stopping = flags & 1 != 0;
        observation.gc_possible = flags & 2 != 0;
        observation.scavenge = flags & 4 != 0;
        observation.spinning = u32::from(flags >> 3 & 3);
        let past = |bytes: &mut Bytes| Some(Nanos(bytes.magnitude(TIME_BITS)?.min(now.0)));
        observation.last_gc = past(bytes)?;
        observation.last_poll = if flags & 32 != 0 {
            Some(past(bytes)?)
        } else {
            None
        };
        observation.next_timer = match flags & 128 {
            0 => None,
            _ => Some(Nanos(bytes.magnitude(64)?)),
        };
        let mut ps = [PObservation::default(); PS];
        for p in &mut ps {
            let choice = bytes.byte()?;
            p.state = [PState::Idle, PState::Running, PState::Syscall][usize::from(choice % 3)];
            p.has_work = choice & 4 != 0;
            p.tick = u32::from(choice >> 3 & 3);
            p.syscall_tick = u32::from(choice >> 5 & 3);
        }
        observation.set_ps(ps);
        let all_idle = observation.all_idle();
        let (actions, sleep) = monitor.tick(&observation);
        for retake in &actions.retake {
            let p = ps[retake.p.0];
            assert_ne!(p.state, PState::Idle, "taken from nobody");
            assert_eq!(p.tick, retake.tick);
        }
        assert!(!actions.force_gc || observation.gc_possible);
        match sleep {
            Sleep::For(time) => assert!((config.min_sleep..=config.max_sleep).contains(&time)),
            Sleep::Deep(_) => assert!(observation.stopping || all_idle),
        }
        if flags & 16 != 0 {
            monitor.woken();
        }
    }
}
