//! The suites: one table a file.

mod gc;
mod malloc;
mod net;
mod sched;
mod stack;
mod sysmon;

use super::row::Suite;

/// Every suite, in the order in which they are run and shown.
pub const SUITES: &[Suite] = &[
    malloc::MALLOC,
    gc::GC,
    sched::SCHED,
    stack::STACK,
    sysmon::SYSMON,
    net::NET,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::contestants;

    #[test]
    fn rows_have_names_of_their_own_and_known_contestants() {
        for suite in SUITES {
            for (at, row) in suite.rows.iter().enumerate() {
                let name = format!("{}: {}", suite.name, row.title());
                let before = &suite.rows[..at];
                assert!(
                    before.iter().all(|r| r.title() != row.title()),
                    "{name} twice"
                );
                let [ours, peers @ ..] = row.contestants else {
                    panic!("{name} has no contestants");
                };
                assert!(!contestants::find(ours).is_peer, "{name}");
                assert!(
                    peers.iter().all(|id| contestants::find(id).is_peer),
                    "{name}"
                );
                assert!(row.help.ends_with('.'), "{name}");
            }
        }
    }

    #[test]
    fn every_contestant_has_a_program_for_its_suites() {
        for suite in SUITES {
            for id in suite.rows.iter().flat_map(|row| row.contestants) {
                let bin = contestants::find(id).bin(suite.name);
                assert!(bin.is_some(), "{id} in {}", suite.name);
            }
        }
    }
}
