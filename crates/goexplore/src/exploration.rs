//! Running a model many times, each time with other choices.

use crate::choice::{Chooser, Random, Source, Taken, next_path};
use crate::execution::{Bounds, Ended, Execution, part};
use crate::plant::Plant;
use std::fmt::Write as _;
use std::sync::{Arc, Once};

/// How the executions of a model are chosen. Made by [`Exploration::exhaustive`] or [`Exploration::random`].
#[derive(Clone, Debug)]
pub struct Exploration {
    bounds: Bounds,
    way: Way,
    plants: Vec<Plant>,
}

#[derive(Clone, Debug)]
enum Way {
    Exhaustive { at_most: u64 },
    Random { seed: u64, executions: u64 },
    Replay(Vec<u32>),
}

/// What an exploration came to.
#[derive(Debug)]
pub struct Report {
    /// How often the model was run.
    pub executions: u64,
    /// Every execution within the bounds was run.
    pub exhausted: bool,
    /// What failed, how to see it again, and what led to it; `None` if nothing failed.
    pub failure: Option<String>,
    /// How often a planted bug took effect.
    pub planted: u64,
}

/// Steps of one execution, unless set: models are small.
const STEPS: u32 = 20_000;

/// Executions of an exhaustive exploration, unless set: more are a sign that the bounds are too wide for the model.
const AT_MOST: u64 = 2_000_000;

impl Exploration {
    fn new(bounds: Bounds, way: Way) -> Exploration {
        Exploration {
            bounds,
            way,
            plants: Vec::new(),
        }
    }

    /// Every execution with at most 2 preemptions and 1 read of a store that is not the newest. Most bugs need no more (Musuvathi and Qadeer,
    /// *Iterative context bounding*, PLDI 2007); where a protocol has more parties or rounds, set more.
    #[must_use]
    pub fn exhaustive() -> Exploration {
        let bounds = Bounds {
            preemptions: 2,
            stale_reads: 1,
            steps: STEPS,
        };
        Exploration::new(bounds, Way::Exhaustive { at_most: AT_MOST })
    }

    /// Executions with random choices, without bounds on what they may be: 1,000 unless set.
    ///
    /// The environment variable `GOEXPLORE_SEED` overrides the seed, `GOEXPLORE_EXECUTIONS` the number.
    #[must_use]
    pub fn random(seed: u64) -> Exploration {
        let bounds = Bounds {
            preemptions: u32::MAX,
            stale_reads: u32::MAX,
            steps: STEPS,
        };
        let seed = number("GOEXPLORE_SEED").unwrap_or(seed);
        let executions = 1000;
        Exploration::new(bounds, Way::Random { seed, executions })
    }

    /// At most `n` preemptions in an execution: switches away from a thread that could go on.
    #[must_use]
    pub fn preemptions(mut self, n: u32) -> Exploration {
        self.bounds.preemptions = n;
        self
    }

    /// At most `n` reads in an execution of stores that are not the newest.
    #[must_use]
    pub fn stale_reads(mut self, n: u32) -> Exploration {
        self.bounds.stale_reads = n;
        self
    }

    /// An execution with more operations than `n` is taken for a livelock.
    #[must_use]
    pub fn steps(mut self, n: u32) -> Exploration {
        self.bounds.steps = n;
        self
    }

    /// The number of random executions, or the largest number of those of an exhaustive exploration, which is then not exhausted.
    #[must_use]
    pub fn executions(mut self, n: u64) -> Exploration {
        match &mut self.way {
            Way::Exhaustive { at_most } => *at_most = n,
            Way::Random { executions, .. } => {
                *executions = number("GOEXPLORE_EXECUTIONS").unwrap_or(n)
            }
            Way::Replay(_) => {}
        }
        self
    }

    /// With this bug.
    #[must_use]
    pub fn plant(mut self, plant: Plant) -> Exploration {
        self.plants.push(plant);
        self
    }

    /// Runs `model` until it fails or all executions are done. The model makes all that it uses anew, and ends all threads that it starts.
    ///
    /// The environment variable `GOEXPLORE_REPLAY`, a list of choices as a failure prints it, runs that execution alone. `GOEXPLORE_EFFORT`, a number,
    /// multiplies random executions, and above 1 allows exhaustive ones a preemption more. Neither has a part in explorations with planted bugs.
    pub fn run(&self, model: impl Fn() + Send + Sync + 'static) -> Report {
        let model = Arc::new(model);
        let replay = std::env::var("GOEXPLORE_REPLAY")
            .ok()
            .filter(|_| self.plants.is_empty());
        let effort = number("GOEXPLORE_EFFORT").filter(|_| self.plants.is_empty());
        let effort = effort.unwrap_or(1);
        let mut bounds = self.bounds;
        let way = match (replay, self.way.clone()) {
            (Some(list), _) => Way::Replay(parse(&list)),
            (None, Way::Random { seed, executions }) => Way::Random {
                seed,
                executions: executions * effort,
            },
            (None, way) => {
                bounds.preemptions = bounds.preemptions.saturating_add(u32::from(effort > 1));
                way
            }
        };
        catch_panics();
        let mut report = Report {
            executions: 0,
            exhausted: false,
            failure: None,
            planted: 0,
        };
        let mut path = Vec::new();
        loop {
            let source = match &way {
                Way::Exhaustive { .. } => Source::Search,
                Way::Replay(list) => Source::Replay(list.clone()),
                Way::Random { seed, .. } => {
                    let random = Random::new(seed.wrapping_add(report.executions));
                    // From restless to patient: long stretches of one thread find other bugs than short ones.
                    let restless = [2, 4, 8, 16, 32][report.executions as usize % 5];
                    Source::Random { random, restless }
                }
            };
            let chooser = Chooser::new(source, std::mem::take(&mut path));
            let execution = Box::new(Execution::new(chooser, bounds, self.plants.clone()));
            let body = model.clone();
            let ended = execution.run(move || body());
            report.executions += 1;
            report.planted += u64::from(ended.planted);
            if let Some(why) = &ended.failure {
                report.failure = Some(self.describe(why, report.executions, &ended));
                return report;
            }
            match &way {
                Way::Replay(_) => return report,
                Way::Random { executions, .. } if report.executions >= *executions => {
                    return report;
                }
                Way::Random { .. } => {}
                Way::Exhaustive { at_most } => match next_path(ended.path) {
                    None => {
                        report.exhausted = true;
                        return report;
                    }
                    Some(_) if report.executions >= *at_most => return report,
                    Some(next) => path = next,
                },
            }
        }
    }

    fn describe(&self, why: &str, execution: u64, ended: &Ended) -> String {
        let mut text = format!(
            "{why}\nin execution {execution}; the last operations, each indented by its thread:\n{}",
            ended.trace
        );
        for plant in &self.plants {
            let _ = writeln!(text, "planted: {}", plant.describe());
        }
        let _ = write!(
            text,
            "to run it again: GOEXPLORE_REPLAY={}",
            list(&ended.path)
        );
        text
    }

    /// Runs `model`, prints a line for it, and panics with the report if it failed.
    ///
    /// # Panics
    /// If an execution fails.
    pub fn check(&self, name: &str, model: impl Fn() + Send + Sync + 'static) {
        let report = self.run(model);
        if let Some(failure) = report.failure {
            panic!("{name}: {failure}");
        }
        let how = match (&self.way, report.exhausted) {
            (_, true) => "all there are within the bounds",
            (Way::Exhaustive { .. }, false) => "not all there are",
            _ => "at random",
        };
        println!("explored: {name}: {} executions, {how}", report.executions);
    }

    /// Runs `model` once for each of `plants`, with that bug alone, and prints a line for each.
    ///
    /// # Panics
    /// If the exploration does not fail, or the bug was not come by.
    pub fn catches(
        &self,
        name: &str,
        plants: Vec<Plant>,
        model: impl Fn() + Send + Sync + 'static,
    ) {
        let model = Arc::new(model);
        for plant in plants {
            let what = plant.describe();
            let model = model.clone();
            let report = self.clone().plant(plant).run(move || model());
            assert!(
                report.planted > 0,
                "{name}: never came by the planted bug: {what}"
            );
            assert!(
                report.failure.is_some(),
                "{name}: not caught in {} executions: {what}",
                report.executions
            );
            let failure = report.failure.unwrap_or_default();
            let how = failure.lines().next().unwrap_or_default();
            println!(
                "caught: {name}: {what}, in execution {}: {how}",
                report.executions
            );
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    match text.parse() {
        Ok(n) => Some(n),
        Err(_) => panic!("{variable} is to be a number: {text}"),
    }
}

fn list(path: &[Taken]) -> String {
    let options: Vec<_> = path.iter().map(|taken| taken.option.to_string()).collect();
    options.join(",")
}

fn parse(list: &str) -> Vec<u32> {
    let options = list.split(',').filter(|option| !option.is_empty());
    options
        .map(|option| {
            option
                .parse()
                .unwrap_or_else(|_| panic!("GOEXPLORE_REPLAY is to be a list of numbers: {list}"))
        })
        .collect()
}

/// A panic of an explored thread fails its execution and is printed as part of the report.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let Some((execution, me)) = part() else {
                return before(info);
            };
            let place = info
                .location()
                .map(|at| format!("{}:{}", at.file(), at.line()));
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let message = payload.downcast_ref::<&str>().copied().or(text);
            let message = message.unwrap_or("a panic");
            let why = format!("{message} ({})", place.unwrap_or_default());
            execution.record_failure(&mut execution.lock(), me, &why);
        }));
    });
}
