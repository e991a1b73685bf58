//! What `cargo test` said: how many tests passed and failed, and of a failed run the lines that matter.

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not asked for.
    pub ignored: u64,
}

impl Tally {
    /// Adds up the `test result:` lines of a run.
    pub fn read(output: &str) -> Tally {
        let mut tally = Tally::default();
        for line in output.lines() {
            // With several test threads a summary can follow a test's own unfinished line.
            let Some(at) = line.find("test result: ") else {
                continue;
            };
            for part in line[at..].split(['.', ';']) {
                let mut words = part.split_whitespace();
                let number = words.next().and_then(|word| word.parse::<u64>().ok());
                match (number, words.next()) {
                    (Some(n), Some("passed")) => tally.passed += n,
                    (Some(n), Some("failed")) => tally.failed += n,
                    (Some(n), Some("ignored")) => tally.ignored += n,
                    _ => {}
                }
            }
        }
        tally
    }

    /// Reads the last line of a command of this tool: `N passed, N failed`.
    pub fn read_last_line(output: &str) -> Tally {
        let mut tally = Tally::default();
        for part in output.lines().last().unwrap_or_default().split(", ") {
            match part.split_once(' ').map(|(n, what)| (n.parse(), what)) {
                Some((Ok(n), "passed")) => tally.passed = n,
                Some((Ok(n), "failed")) => tally.failed = n,
                _ => {}
            }
        }
        tally
    }

    /// Both runs together.
    pub fn plus(self, other: Tally) -> Tally {
        Tally {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }
}

/// The lines of a failed run that say why it failed: of the programs that did not pass, and there all but the progress of cargo and the tests that went well.
pub fn essence(output: &str) -> Vec<&str> {
    const PROGRESS: &[&str] = &[
        "Compiling ",
        "Finished ",
        "Running ",
        "Doc-tests ",
        "Downloading ",
        "Downloaded ",
        "Updating ",
        "Locking ",
        "Blocking ",
        "Adding ",
        "running ",
    ];
    let mut kept = Vec::new();
    // Where in `kept` the program begins whose lines are read.
    let mut program = 0;
    for line in output.lines() {
        let text = line.trim_start();
        let is_fine =
            text.starts_with("test ") && (text.ends_with("ok") || text.contains("... ignored"));
        if text.contains("test result: ok") {
            kept.truncate(program);
        } else if !text.is_empty()
            && !is_fine
            && !PROGRESS.iter().any(|start| text.starts_with(start))
        {
            kept.push(line);
        }
        // The latter is all that is said of one that was killed.
        if text.contains("test result: ") || text.starts_with("error: test failed") {
            program = kept.len();
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_command_is_read() {
        let tally = Tally::read_last_line("3 failed things\n12 passed, 1 failed\n");
        assert_eq!((tally.passed, tally.failed), (12, 1));
        assert_eq!(Tally::read_last_line("nothing"), Tally::default());
    }

    const RUN: &str = "\
   Compiling gomem v0.1.0
     Running unittests src/lib.rs

running 3 tests
test a ... ok
test b ... FAILED
test c ... ignored

---- b stdout ----
thread 'b' panicked at src/lib.rs:1:1:
assertion failed

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
error: test failed, to rerun pass `-p gomem --lib`
     Running tests/noisy.rs
running 2 tests
thread 'it' panicked as it is told to
test result: ok. 1 passed; 0 failed; 0 ignored
     Running tests/killed.rs
running 9 tests
about to fail
error: test failed, to rerun pass `-p gomem --test killed`
   Doc-tests gomem
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1.23s
error: 1 target failed
";

    #[test]
    fn adds_up_every_summary() {
        let expected = Tally {
            passed: 4,
            failed: 1,
            ignored: 1,
        };
        assert_eq!(Tally::read(RUN), expected);
        assert_eq!(Tally::read("error: could not compile"), Tally::default());
        assert_eq!(
            Tally::read("hello test result: ok. 4 passed; 0 failed;").passed,
            4
        );
    }

    #[test]
    fn keeps_what_says_why() {
        let expected = [
            "test b ... FAILED",
            "---- b stdout ----",
            "thread 'b' panicked at src/lib.rs:1:1:",
            "assertion failed",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "error: test failed, to rerun pass `-p gomem --lib`",
            "about to fail",
            "error: test failed, to rerun pass `-p gomem --test killed`",
            "error: 1 target failed",
        ];
        assert_eq!(essence(RUN), expected);
    }
}
