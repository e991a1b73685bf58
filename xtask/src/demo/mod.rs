//! `cargo xtask demo`: the key-value server under load, with the runtime's figures live; `cargo xtask demo stacks` shows managed stacks, `cargo xtask demo gc` the methods
//! of collection.
//!
//! Two processes are started, the server and the load generator, and both are held by values that stop them on every
//! way out: the end of the load, Ctrl-C, an error of either, a terminal that was closed. The panel is redrawn in place;
//! where there is no terminal the same figures come as plain lines.

mod course;
mod gc;
mod options;
mod panel;
mod units;

use crate::console::{Region, Row, Style};
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::kv::figures::{Progress, Runtime, Total};
use crate::kv::resp::Client;
use crate::kv::{self, Generator, Programs, Server};
use crate::lesson;
use course::Course;
use options::Options;
use panel::Phase;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How often the figures are asked for and the panel is redrawn.
const FRAME: Duration = Duration::from_millis(500);

/// How often a plain line is printed.
const PLAIN_LINE: Duration = Duration::from_secs(1);

/// How long the server may take to answer a question while it is under load.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much longer than it was told the load generator may take.
const OVERTIME: Duration = Duration::from_secs(30);

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    if let Some(mut words) = arguments.try_raw_args() {
        if words.peek().is_some_and(|word| word == "stacks") {
            return lesson::run_named(&["hot-split", "contiguous", "shrinking"]);
        }
        if words.peek().is_some_and(|word| word == "gc") {
            words.next();
            return gc::run(arguments);
        }
    }
    match options::read(arguments)? {
        None => {
            print!("{}", options::HELP);
            Ok(ExitCode::SUCCESS)
        }
        Some(options) => play(&options),
    }
}

fn play(options: &Options) -> Outcome {
    interrupt::watch();
    println!("building kv and kv-load (release)");
    let programs = kv::build()?;
    let gogc = options.gogc.map(|gogc| ("GOGC", gogc.to_string()));
    let variables: Vec<_> = gogc.into_iter().collect();
    let server = Server::start(&programs, options.port, &variables, |_| ())?;
    let client = Client::connect(server.address(), PATIENCE)?;
    println!("kv listens on {}", server.address());
    if options.serve {
        let address = server.address();
        println!(
            "connect with: redis-cli -h {} -p {}",
            address.ip(),
            address.port()
        );
    }
    let mut stage = Stage {
        region: if options.plain { None } else { Region::begin() },
        next_line: Duration::ZERO,
        begin: Instant::now(),
        course: Course::default(),
        options,
        server,
        client,
    };
    let ended = stage.perform(&programs);
    if let Some(region) = &mut stage.region {
        region.clear()?;
    }
    let ended = ended?;
    for row in panel::summary(&stage.course) {
        row.print()?;
    }
    for line in &ended.account {
        println!("  {line}");
    }
    match ended.verdict {
        Verdict::Fine => Ok(ExitCode::SUCCESS),
        Verdict::Interrupted(signal) => Ok(ExitCode::from(interrupt::exit_code(signal))),
        Verdict::Errors => Err(Failure::Broken(
            "the load generator found errors".to_owned(),
        )),
    }
}

/// How the demo ended.
enum Verdict {
    /// As it should.
    Fine,
    /// By a signal, before the load was over.
    Interrupted(i32),
    /// The load generator was not content.
    Errors,
}

/// How the demo ended, and what the load generator said besides its progress.
struct Ended {
    verdict: Verdict,
    account: Vec<String>,
}

/// A demo that runs. When it is dropped, the server is stopped and the cursor is back.
struct Stage<'a> {
    region: Option<Region>,
    next_line: Duration,
    begin: Instant,
    course: Course,
    options: &'a Options,
    server: Server,
    client: Client,
}

impl Stage<'_> {
    fn perform(&mut self, programs: &Programs) -> Result<Ended, Failure> {
        let mut ended = Ended {
            verdict: Verdict::Fine,
            account: Vec::new(),
        };
        if self.options.load.seconds > 0 {
            ended = self.under_load(programs)?;
        }
        if self.options.serve && matches!(ended.verdict, Verdict::Fine) {
            self.serve()?;
        }
        Ok(ended)
    }

    fn under_load(&mut self, programs: &Programs) -> Result<Ended, Failure> {
        let load = &self.options.load;
        let mut generator = Generator::start(programs, self.server.address(), load)?;
        let limit = Duration::from_secs(load.seconds.into()) + OVERTIME;
        let mut account = Vec::new();
        let mut next_frame = Duration::ZERO;
        self.begin = Instant::now();
        loop {
            let now = self.begin.elapsed();
            if let Some(signal) = interrupt::pending() {
                let verdict = Verdict::Interrupted(signal);
                return Ok(Ended { verdict, account });
            }
            if now > limit {
                let said = account.join("\n");
                return Err(Failure::Broken(format!(
                    "the load generator hangs; it said:\n{said}"
                )));
            }
            if now >= next_frame {
                self.frame(Phase::Loaded(now))?;
                next_frame = now + FRAME;
            }
            match generator.lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    if let Some(progress) = Progress::parse(&line) {
                        self.course.note_progress(progress);
                    } else if let Some(total) = Total::parse(&line) {
                        self.course.total = Some(total);
                    } else {
                        account.push(line);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => match generator.ended()? {
                    None => std::thread::sleep(Duration::from_millis(10)),
                    Some(success) => {
                        self.frame(Phase::Loaded(now))?;
                        let errors = self.course.progress.map_or(0, |progress| progress.errors);
                        let verdict = match success && errors == 0 {
                            true => Verdict::Fine,
                            false => Verdict::Errors,
                        };
                        return Ok(Ended { verdict, account });
                    }
                },
            }
        }
    }

    /// Shows the server's figures until Ctrl-C, which is the ordinary end here.
    fn serve(&mut self) -> Result<(), Failure> {
        if self.region.is_none() {
            println!("serving; Ctrl-C ends");
        }
        let mut next_frame = Instant::now();
        while interrupt::pending().is_none() {
            if Instant::now() >= next_frame {
                self.frame(Phase::Serving)?;
                next_frame = Instant::now() + FRAME;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Asks the server for its figures and shows them.
    fn frame(&mut self, phase: Phase) -> Result<(), Failure> {
        self.server.check()?;
        let info = match self.client.text(&["INFO", "stats", "goruntime"]) {
            Ok(info) => info,
            // Its end explains the silence better than the silence does.
            Err(silence) => {
                self.server.check()?;
                return Err(Failure::Broken(format!("kv does not answer: {silence}")));
            }
        };
        self.course.note_runtime(Runtime::parse(&info));
        if let (Phase::Serving, Some(rate)) = (phase, self.course.runtime.served_per_second) {
            self.course.note_rate(rate as f64);
        }
        match (&mut self.region, phase) {
            (Some(region), phase) => {
                let address = self.server.address();
                region.draw(&panel::panel(&self.course, self.options, address, phase))?;
            }
            (None, Phase::Loaded(now)) if now >= self.next_line => {
                Row::new()
                    .with(Style::Plain, panel::plain(&self.course, now))
                    .print()?;
                self.next_line = now + PLAIN_LINE;
            }
            (None, _) => {}
        }
        Ok(())
    }
}
