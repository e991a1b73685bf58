//! The environment variables, under Go's names and in Go's syntax.
//!
//! A value that does not parse is never silently another one: it is named on standard error, once, and the default is used. A
//! `GOMEMLIMIT` that does not parse ends the process, as Go does: nobody should believe in a limit that is not there.

use std::sync::OnceLock;
use std::time::Duration;

/// What the environment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `GOMAXPROCS`: the number of Ps; `None` for what the machine, the affinity mask and the cgroup allow.
    pub procs: Option<usize>,
    /// `GOGC` and `GOMEMLIMIT`.
    pub collector: gogc::Config,
    /// `GOMEMLIMIT` is not set: the limit follows that of the memory group.
    pub follow_group_limit: bool,
    /// `GODEBUG=gctrace=1`: a line on standard error for each collection.
    pub gc_trace: bool,
    /// `GODEBUG=gctrace=2`: another one for the stops of the world in it.
    pub gc_trace_pauses: bool,
    /// `GODEBUG=gcstoptheworld=1`: the world stands still for all of marking.
    pub stop_the_world: bool,
    /// `GODEBUG=gccheckmark=1`: after each marking everything is marked once more with the world stopped, and compared. A difference ends the process.
    /// For programs with [`ClearedMalloc`](crate::ClearedMalloc): a pointer that a block held before it was allocated may be one.
    pub check_marks: bool,
    /// `GODEBUG=gctrackwrites=0`: does not have the system tell which pages were written, as if it could not.
    pub track_writes: bool,
    /// `GODEBUG=clobberfree=1`: the memory of dead objects is overwritten when it is freed.
    pub clobber_free: bool,
    /// `GODEBUG=gctypes=1`: every collected object says its type, for reports on the heap; small ones take a word more.
    pub type_names: bool,
    /// `GODEBUG=latestatictls=0`: libraries that are opened later may not have static thread-locals, and a goroutine whose frames are small is one page of memory
    /// and not two.
    pub late_static_locals: bool,
    /// `GODEBUG=schedtrace=N`: a line on standard error every N milliseconds.
    pub sched_trace: Option<Duration>,
    /// `GODEBUG=scheddetail=1`: with `schedtrace`, a line for each P, M and G as well.
    pub sched_detail: bool,
    /// `GODEBUG=stalltrace=N`: goroutines are reported that do not get on for N milliseconds (ten seconds); `None` for never, which is said by 0.
    pub stall_trace: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            procs: None,
            collector: gogc::Config::default(),
            follow_group_limit: true,
            gc_trace: false,
            gc_trace_pauses: false,
            stop_the_world: false,
            check_marks: false,
            track_writes: true,
            clobber_free: false,
            type_names: false,
            late_static_locals: true,
            sched_trace: None,
            sched_detail: false,
            stall_trace: Some(Duration::from_secs(10)),
        }
    }
}

impl Settings {
    /// Reads the process's environment; complaints go to standard error.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_env() -> Result<Settings, gogc::ConfigError> {
        Settings::parse(
            |name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()),
            |complaint| eprintln!("goruntime: {complaint}"),
        )
    }

    /// Reads the variables that `get` knows.
    ///
    /// # Errors
    /// When `GOMEMLIMIT` is malformed.
    pub fn parse(
        get: impl Fn(&str) -> Option<String>,
        mut complain: impl FnMut(String),
    ) -> Result<Settings, gogc::ConfigError> {
        let mut settings = Settings::default();
        let mut read = |name: &str, expected: &str, set: &mut dyn FnMut(&str) -> Option<()>| {
            let Some(value) = get(name) else { return };
            let value = value.trim();
            if !value.is_empty() && set(value).is_none() {
                complain(format!(
                    "{name}={value:?} is not {expected}; using the default"
                ));
            }
        };
        read("GOMAXPROCS", "a positive number", &mut |v| {
            settings.procs = Some(v.parse().ok().filter(|&n| n > 0)?);
            Some(())
        });
        read("GOGC", "a percentage or \"off\"", &mut |v| {
            gogc::GcPercent::parse(v).map(drop)
        });
        let [percent, limit] = ["GOGC", "GOMEMLIMIT"].map(&get);
        let trim = |value: &Option<String>| value.as_deref().map(|v| v.trim().to_owned());
        settings.collector =
            gogc::Config::parse(trim(&percent).as_deref(), trim(&limit).as_deref())?;
        settings.follow_group_limit = limit.is_none_or(|limit| limit.trim().is_empty());
        let Some(debug) = get("GODEBUG") else {
            return Ok(settings);
        };
        for item in debug.split(',').filter(|i| !i.is_empty()) {
            // Settings of Go's own that mean nothing here are passed over, as Go does with those it does not know.
            let Some((key, value)) = item.split_once('=') else {
                complain(format!("GODEBUG: {item:?} is not of the form name=value"));
                continue;
            };
            // No wider than in Go, so that a period in nanoseconds fits as well.
            let number = value.trim().parse::<u32>();
            let known = [
                "gctrace",
                "gcstoptheworld",
                "gccheckmark",
                "gctrackwrites",
                "clobberfree",
                "gctypes",
                "latestatictls",
                "schedtrace",
                "scheddetail",
                "stalltrace",
            ]
            .contains(&key);
            match (key, number) {
                ("gctrace", Ok(n)) => {
                    settings.gc_trace = n > 0;
                    settings.gc_trace_pauses = n > 1;
                }
                ("gcstoptheworld", Ok(n)) => settings.stop_the_world = n > 0,
                ("gccheckmark", Ok(n)) => settings.check_marks = n > 0,
                ("gctrackwrites", Ok(n)) => settings.track_writes = n > 0,
                ("clobberfree", Ok(n)) => settings.clobber_free = n > 0,
                ("gctypes", Ok(n)) => settings.type_names = n > 0,
                ("latestatictls", Ok(n)) => settings.late_static_locals = n > 0,
                ("schedtrace", Ok(n)) => {
                    settings.sched_trace = (n > 0).then(|| Duration::from_millis(n.into()));
                }
                ("scheddetail", Ok(n)) => settings.sched_detail = n > 0,
                ("stalltrace", Ok(n)) => {
                    settings.stall_trace = (n > 0).then(|| Duration::from_millis(n.into()));
                }
                (_, Err(_)) if known => {
                    complain(format!("GODEBUG: {key}={value:?} is not a number"));
                }
                _ => {}
            }
        }
        Ok(settings)
    }
}

/// Nothing can run, so the process ends; Go's exit status for a failed runtime.
pub(crate) fn cannot_start(why: &str) -> ! {
    eprintln!("goruntime: cannot start: {why}");
    std::process::exit(2);
}

/// The environment's settings, read on first use.
pub(crate) fn get() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        Settings::from_env().unwrap_or_else(|error| cannot_start(&error.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gogc::{Bytes, GcPercent};

    fn parse(vars: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let (settings, complaints) = try_parse(vars);
        (settings.unwrap(), complaints)
    }

    fn try_parse(vars: &[(&str, &str)]) -> (Result<Settings, gogc::ConfigError>, Vec<String>) {
        let mut complaints = Vec::new();
        let settings = Settings::parse(
            |name| {
                let found = vars.iter().find(|(n, _)| *n == name);
                found.map(|(_, v)| (*v).to_string())
            },
            |c| complaints.push(c),
        );
        (settings, complaints)
    }

    #[test]
    fn empty_environment_is_the_default() {
        assert_eq!(parse(&[]), (Settings::default(), vec![]));
        assert_eq!(parse(&[("GOGC", "")]).0, Settings::default());
    }

    #[test]
    fn reads_every_variable() {
        let (s, complaints) = parse(&[
            ("GOMAXPROCS", "3"),
            ("GOGC", "off"),
            ("GOMEMLIMIT", "512MiB"),
            (
                "GODEBUG",
                "gctrace=1,schedtrace=250,scheddetail=1,stalltrace=0,gcstoptheworld=1,gccheckmark=1,gctrackwrites=0,clobberfree=1,gctypes=1,latestatictls=0,madvdontneed=1",
            ),
        ]);
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(s.procs, Some(3));
        assert_eq!(s.collector.percent, GcPercent::Off);
        assert_eq!(s.collector.memory_limit, Some(Bytes::mib(512)));
        assert!(!s.follow_group_limit);
        assert_eq!(s.stall_trace, None);
        assert!(
            s.gc_trace && s.sched_detail && s.stop_the_world && s.check_marks && s.clobber_free
        );
        assert!(!s.track_writes && !s.gc_trace_pauses && s.type_names && !s.late_static_locals);
        assert_eq!(s.sched_trace, Some(Duration::from_millis(250)));
    }

    #[test]
    fn nonsense_is_named_and_ignored() {
        let (s, complaints) = parse(&[
            ("GOMAXPROCS", "-2"),
            ("GOGC", "many"),
            (
                "GODEBUG",
                "gctrace=yes,noise,schedtrace=18446744073709551615",
            ),
        ]);
        assert_eq!(s, Settings::default());
        assert_eq!(complaints.len(), 5);
        assert!(complaints[0].contains("GOMAXPROCS"));
    }

    #[test]
    fn a_negative_percentage_is_off_as_in_go() {
        let (s, complaints) = parse(&[("GOGC", "-1")]);
        assert_eq!((s.collector.percent, complaints), (GcPercent::Off, vec![]));
    }

    #[test]
    fn a_malformed_limit_is_refused() {
        for limit in ["12 parsecs", "99999999999TiB"] {
            let why = try_parse(&[("GOMEMLIMIT", limit)]).0.unwrap_err();
            assert!(why.to_string().contains(limit), "{why}");
        }
    }
}
