//! `cargo xtask fastpath`: how many instructions the hot paths take, and that they call nothing through a pointer.
//!
//! Times of a shared machine differ by more than what one change to `malloc` is worth; its number of instructions does not differ at all.
//! The probes are in `tests/src/bin/fastpath.rs`, built with the release profile and without link-time optimisation, as users build. Each runs in a
//! process of its own, so that no figure depends on which probes ran before. The golden figures are in `tests/fastpath/golden.txt`.

mod decode;
mod golden;
mod show;
mod trace;

use crate::console::{Row, Style};
use crate::failure::{Failure, Outcome};
use crate::nearest::unknown;
use crate::tools::{self, SKIPPED};
use crate::{interrupt, process, workspace};
use golden::{Figure, Golden, Verdict};
use lexopt::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use trace::{Run, Trouble};

const HELP: &str = "\
Usage: cargo xtask fastpath [probe...] [options]

Counts the instructions of the hot paths, and their indirect calls and jumps, one instruction at a time, and compares
with tests/fastpath/golden.txt. A figure that grew fails; with another compiler or libc than the file was made
with, it is only reported.

Options:
  --list    name the probes instead
  --show    then say where the instructions are, by function, and which calls are indirect
  --bless   write what was counted to the golden file; goes with no name
";

/// A build that takes longer than this is stuck.
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);

/// What one probe may take; some tenths of a second are usual.
const LIMIT: Duration = Duration::from_secs(15);

/// A thread that was made to stand still may have held a lock that the measured one needs. It is tried so often.
const ATTEMPTS: u32 = 3;

/// Repetitions that must be left of a run.
const FEWEST: usize = 8;

/// Probes whose names begin so call C's functions, which then are those of `libgomem.so`.
const PRELOADED: &str = "c-";

#[derive(Default)]
struct Options {
    /// Probes; all of them if there is none.
    names: Vec<String>,
    list: bool,
    show: bool,
    bless: bool,
}

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Long("list") => options.list = true,
            Long("show") => options.show = true,
            Long("bless") => options.bless = true,
            Value(name) => options.names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.bless && !options.names.is_empty() {
        let why = "--bless writes all figures; it goes with no name";
        return Err(Failure::Usage(why.to_owned()));
    }
    interrupt::watch();
    if options.show
        && let Err(why) = tools::need_program("addr2line", "binutils")
    {
        println!("{SKIPPED}{why}");
        return Ok(ExitCode::SUCCESS);
    }
    let programs = Programs::build()?;
    let probes = programs.probes()?;
    if options.list {
        for (name, what) in probes {
            println!("{name:<20}{what}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let known: Vec<String> = probes.into_iter().map(|(name, _)| name).collect();
    for name in &options.names {
        if !known.contains(name) {
            let all = known.iter().map(String::as_str);
            return Err(Failure::Usage(unknown("probe", name, all)));
        }
    }
    measure_all(&options, &programs, &known)
}

/// Measures what is asked for and compares.
fn measure_all(options: &Options, programs: &Programs, known: &[String]) -> Outcome {
    let path = workspace::root().join("tests/fastpath/golden.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let golden = Golden::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
    let mut check = Check {
        made_with: made_with()?,
        golden,
        bless: options.bless,
        measured: Vec::new(),
        ok: 0,
        failed: 0,
    };
    if !check.is_comparable() && !options.bless {
        println!(
            "the golden figures are of {}; this is {}: differences are only reported",
            check.golden.made_with, check.made_with
        );
    }
    let is_chosen = |name: &&String| options.names.is_empty() || options.names.contains(name);
    for name in known.iter().filter(is_chosen) {
        let measured = programs.measure(name);
        if let Some(signal) = interrupt::pending() {
            return Ok(ExitCode::from(interrupt::exit_code(signal)));
        }
        match measured {
            Err(Trouble::Refused(why)) => {
                println!("{SKIPPED}{why}");
                return Ok(ExitCode::SUCCESS);
            }
            Err(Trouble::Ended(why) | Trouble::Broken(why)) => check.fail(name, why)?,
            Ok((figure, run)) => {
                check.compare(name, figure)?;
                let shown = run.repetitions.iter().find(|one| one.figure == figure);
                if let Some(one) = shown.filter(|_| options.show) {
                    show::show(one, &run.maps)?;
                }
            }
        }
    }
    check.end(known, &path)
}

/// What the figures depend on besides the sources.
fn made_with() -> Result<String, String> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(workspace::root()).arg("--version");
    let ran = process::capture(command, Duration::from_secs(60), |_| ())?;
    if !ran.success() {
        return Err(format!("rustc does not say its version:\n{}", ran.output));
    }
    // SAFETY: a static string of the libc.
    let libc = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    let mut text = format!("{}, glibc {}", ran.stdout.trim(), libc.to_string_lossy());
    let flags = tools::rustflags(&[]);
    if !flags.is_empty() {
        text.push_str(&format!(", flags {flags}"));
    }
    Ok(text)
}

/// The probes' program, and the shared library.
struct Programs {
    probes: PathBuf,
    library: PathBuf,
}

impl Programs {
    fn build() -> Result<Programs, String> {
        for what in [
            &["-p", "goruntime-tests", "--bin", "fastpath"][..],
            &["-p", "gomem-c"],
        ] {
            let mut build = workspace::cargo(["build", "--release"]);
            build.args(what);
            let built = process::capture(build, BUILD_LIMIT, |_| ())?;
            if !built.success() {
                return Err(format!("it does not compile:\n{}", built.output));
            }
        }
        let folder = tools::target_directory()?.join("release");
        Ok(Programs {
            probes: folder.join("fastpath"),
            library: folder.join("libgomem.so"),
        })
    }

    /// The probes that there are, and what each does.
    fn probes(&self) -> Result<Vec<(String, String)>, String> {
        let mut command = Command::new(&self.probes);
        command.arg("--list");
        let ran = process::capture(command, LIMIT, |_| ())?;
        let lines = ran.stdout.lines().filter_map(|line| line.split_once('\t'));
        let probes: Vec<(String, String)> = lines
            .map(|(name, what)| (name.to_owned(), what.to_owned()))
            .collect();
        match ran.success() && !probes.is_empty() {
            true => Ok(probes),
            false => Err(format!("the program names no probes:\n{}", ran.output)),
        }
    }

    fn measure(&self, probe: &str) -> Result<(Figure, Run), Trouble> {
        let mut attempt = 1;
        loop {
            match trace::run(self.command(probe), LIMIT) {
                Ok(run) => {
                    let figures: Vec<Figure> =
                        run.repetitions.iter().map(|one| one.figure).collect();
                    let figure = steady(&figures).map_err(Trouble::Broken)?;
                    return Ok((figure, run));
                }
                Err(Trouble::Ended(why)) if attempt < ATTEMPTS => {
                    attempt += 1;
                    println!("        {probe}: {why}; attempt {attempt} of {ATTEMPTS}");
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    fn command(&self, probe: &str) -> Command {
        let mut command = Command::new(&self.probes);
        // One P, so that both goroutines of a pair run on the traced thread; and no collection, which would be in the way.
        command
            .arg(probe)
            .env("GOMAXPROCS", "1")
            .env("GOGC", "off")
            .env("RUST_BACKTRACE", "0");
        for variable in ["GODEBUG", "GOMEMLIMIT", "LD_PRELOAD", "GLIBC_TUNABLES"] {
            command.env_remove(variable);
        }
        if probe.starts_with(PRELOADED) {
            command.env("LD_PRELOAD", &self.library);
        }
        command
    }
}

/// The figure of most repetitions. Now and then one is longer: every 61st switch looks at the global queue, a span has been used up.
fn steady(repetitions: &[Figure]) -> Result<Figure, String> {
    if repetitions.len() < FEWEST {
        let n = repetitions.len();
        return Err(format!("only {n} repetitions were counted"));
    }
    let mut times: HashMap<Figure, usize> = HashMap::new();
    for figure in repetitions {
        *times.entry(*figure).or_default() += 1;
    }
    match times.into_iter().max_by_key(|(_, times)| *times) {
        Some((figure, times)) if 2 * times > repetitions.len() => Ok(figure),
        _ => {
            let instructions = || repetitions.iter().map(|figure| figure.instructions);
            Err(format!(
                "not steady: between {} and {} instructions",
                instructions().min().unwrap_or(0),
                instructions().max().unwrap_or(0)
            ))
        }
    }
}

/// The comparison under way.
struct Check {
    made_with: String,
    golden: Golden,
    bless: bool,
    measured: Vec<(String, Figure)>,
    ok: u32,
    failed: u32,
}

impl Check {
    /// Were the golden figures made with what these are made with? A file without figures compares with nothing, and fails.
    fn is_comparable(&self) -> bool {
        self.golden.made_with == self.made_with || self.golden.figures.is_empty()
    }

    fn compare(&mut self, name: &str, figure: Figure) -> std::io::Result<()> {
        self.measured.push((name.to_owned(), figure));
        let verdict = self.golden.judge(name, figure);
        let (note, is_failure) = match self.bless {
            true => (
                verdict
                    .before()
                    .map_or(String::new(), |before| format!("  was {before}")),
                false,
            ),
            false => remark(verdict),
        };
        let Figure {
            instructions,
            indirect,
        } = figure;
        let numbers = format!("{instructions:>6} instructions {indirect:>3} indirect");
        self.say(name, &numbers, note, is_failure && self.is_comparable())
    }

    fn fail(&mut self, name: &str, why: String) -> std::io::Result<()> {
        self.say(name, "", why, true)
    }

    fn say(
        &mut self,
        name: &str,
        numbers: &str,
        note: String,
        is_failure: bool,
    ) -> std::io::Result<()> {
        let (style, verdict) = match is_failure {
            false => (Style::Good, "ok    "),
            true => (Style::Bad, "failed"),
        };
        match is_failure {
            false => self.ok += 1,
            true => self.failed += 1,
        }
        Row::new()
            .with(style, verdict)
            .with(Style::Plain, format!("  {name:<20}{numbers}"))
            .with(Style::Dim, note)
            .print()
    }

    /// Says what does not belong to one probe, and writes the file if that is wanted.
    fn end(mut self, known: &[String], path: &Path) -> Outcome {
        if self.bless {
            if self.failed > 0 {
                println!("not every probe was counted: the golden file stays as it is");
            } else {
                let golden = Golden {
                    made_with: self.made_with.clone(),
                    figures: std::mem::take(&mut self.measured),
                };
                std::fs::write(path, golden.render())?;
                println!("written: tests/fastpath/golden.txt");
            }
        } else {
            for name in self.golden.strangers(known) {
                println!(
                    "failed  {name}: it is in the golden file, and there is no such probe; --bless takes it out"
                );
                self.failed += 1;
            }
        }
        println!("{} passed, {} failed", self.ok, self.failed);
        Ok(ExitCode::from(u8::from(self.failed > 0 || self.ok == 0)))
    }
}

/// What is said of a comparison, and whether it is a failure.
fn remark(verdict: Verdict) -> (String, bool) {
    match verdict {
        Verdict::Same => (String::new(), false),
        Verdict::Near(before) => (format!("  golden: {before}"), false),
        Verdict::Less(before) => (format!("  golden: {before}; --bless keeps the gain"), false),
        Verdict::Grown(before) => {
            let most = golden::allowed(before.instructions);
            let note = format!(
                "  grew; golden: {before}, allowed {most} and {}",
                before.indirect
            );
            (note, true)
        }
        Verdict::New => (
            "  not in the golden file; --bless puts it in".to_owned(),
            true,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(instructions: &[u64]) -> Vec<Figure> {
        let figure = |&instructions: &u64| Figure {
            instructions,
            indirect: 0,
        };
        instructions.iter().map(figure).collect()
    }

    #[test]
    fn the_steady_figure_is_that_of_most_repetitions() {
        let mut run = vec![30; 20];
        run.extend([31, 400, 31]);
        assert_eq!(steady(&figures(&run)).unwrap().instructions, 30);
    }

    #[test]
    fn a_path_that_is_never_the_same_has_no_figure() {
        let run: Vec<u64> = (20..40).collect();
        let why = steady(&figures(&run)).unwrap_err();
        assert!(why.contains("between 20 and 39"), "{why}");
        assert!(steady(&figures(&[5; FEWEST - 1])).is_err());
    }

    #[test]
    fn growth_and_missing_figures_are_failures() {
        let before = Figure {
            instructions: 100,
            indirect: 0,
        };
        assert!(!remark(Verdict::Same).1 && !remark(Verdict::Near(before)).1);
        assert!(!remark(Verdict::Less(before)).1 && remark(Verdict::New).1);
        let (note, is_failure) = remark(Verdict::Grown(before));
        assert!(is_failure && note.contains("allowed 102"), "{note}");
    }
}
