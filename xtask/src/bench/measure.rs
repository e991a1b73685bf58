//! Running contestants in turn, round after round.
//!
//! Each round runs each workload once with each contestant, one after the other, in an order that rotates with the round; ratios are
//! taken within a round, between runs that are seconds apart. When all have had their turn, the load meter judges the runs of the round together, and
//! those that it finds disturbed are repeated, a bounded number of times.
//! A contestant that fails in a workload is not run again with it.

use super::contestants::{self, Contestant};
use super::meter::{Around, Disturbance, Meter, Speed, judge};
use super::options::Options;
use super::results::{Cell, RowResults, SuiteResults};
use super::row::{Row, Suite};
use super::run::{Figures, command, run};
use std::time::Instant;

/// How often a disturbed run is repeated.
const REPEATS: u32 = 2;

/// Of so many runs one may be repeated: on a machine that is never calm, repetition would only take time.
const REPEATED: usize = 5;

/// A workload with the contestants that run it.
struct Job {
    suite: &'static Suite,
    /// The first of the rows that are about it.
    row: Row,
    entries: Vec<Entry>,
}

/// What one contestant did in one workload.
struct Entry {
    contestant: &'static Contestant,
    rounds: Vec<Option<Figures>>,
    /// How long the meter's work took before and after each.
    work: Vec<Option<[f64; 2]>>,
    disturbed: u32,
    failure: Option<String>,
}

impl Entry {
    fn new(contestant: &'static Contestant) -> Entry {
        Entry {
            contestant,
            rounds: Vec::new(),
            work: Vec::new(),
            disturbed: 0,
            failure: None,
        }
    }
}

/// Where a measurement is.
pub struct Position<'a> {
    /// Counted from 1.
    pub round: u32,
    /// How many runs were done, repetitions not counted.
    pub done: usize,
    /// How many there are.
    pub of: usize,
    /// What runs now.
    pub what: &'a str,
}

/// What came of it all.
pub struct Measured {
    /// The tables.
    pub suites: Vec<SuiteResults>,
    /// Rounds that were completed.
    pub rounds: u32,
    /// How many runs stayed disturbed, and of what.
    pub disturbed: Count,
    /// How fast the machine was.
    pub speed: Option<Speed>,
}

/// Runs that were judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// All of them.
    pub all: u32,
    /// Those at another speed of the machine than the others of their row.
    pub unlike: u32,
    /// Those beside which others used the processors.
    pub foreign: u32,
}

impl Count {
    fn add(&mut self, verdict: Option<Disturbance>) {
        self.all += 1;
        match verdict {
            None => {}
            Some(Disturbance::Unlike(_)) => self.unlike += 1,
            Some(Disturbance::Foreign(_)) => self.foreign += 1,
        }
    }

    /// The share of them that was disturbed.
    pub fn share(&self) -> f64 {
        f64::from(self.unlike + self.foreign) / f64::from(self.all.max(1))
    }
}

/// Rows that the options ask for.
pub fn chosen<'a>(suite: &'a Suite, options: &'a Options) -> impl Iterator<Item = &'a Row> {
    suite.rows.iter().filter(|row| {
        options
            .row
            .as_ref()
            .is_none_or(|part| row.title().contains(part.as_str()))
    })
}

fn jobs(suites: &[&'static Suite], options: &Options, is_ready: impl Fn(&str) -> bool) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for &suite in suites {
        for row in chosen(suite, options) {
            let known = jobs
                .iter()
                .position(|job| job.suite.name == suite.name && job.row.shares_runs_with(row));
            let at = known.unwrap_or_else(|| {
                jobs.push(Job {
                    suite,
                    row: *row,
                    entries: Vec::new(),
                });
                jobs.len() - 1
            });
            let entries = &mut jobs[at].entries;
            for &id in row.contestants {
                if is_ready(id) && entries.iter().all(|entry| entry.contestant.id != id) {
                    entries.push(Entry::new(contestants::find(id)));
                }
            }
        }
    }
    jobs.retain(|job| !job.entries.is_empty());
    jobs
}

/// Measures all rows that the options ask for with the contestants that are ready.
///
/// # Errors
/// When this tool is asked to end, or a program cannot be started at all.
pub fn measure(
    suites: &[&'static Suite],
    options: &Options,
    meter: &mut Meter,
    is_ready: impl Fn(&str) -> bool,
    mut show: impl FnMut(&Position),
) -> Result<Measured, String> {
    let mut jobs = jobs(suites, options, is_ready);
    let of = jobs.iter().map(|job| job.entries.len()).sum::<usize>() * options.rounds as usize;
    let begin = Instant::now();
    let mut run = Runs {
        options,
        meter,
        repeats: of / REPEATED,
        count: Count::default(),
    };
    let (mut rounds, mut done) = (0, 0);
    while rounds < options.rounds {
        // Would another round of the same length still fit?
        if rounds > 0 && begin.elapsed() * (rounds + 1) / rounds > options.limit {
            break;
        }
        for job in &mut jobs {
            run.round(job, rounds as usize, |what| {
                show(&Position {
                    round: rounds + 1,
                    done,
                    of,
                    what,
                });
            })?;
            done += job.entries.len();
        }
        rounds += 1;
    }
    Ok(Measured {
        suites: suites
            .iter()
            .map(|suite| table(suite, options, &jobs))
            .collect(),
        rounds,
        disturbed: run.count,
        speed: run.meter.speed(),
    })
}

/// What runs need and leave behind.
struct Runs<'a> {
    options: &'a Options,
    meter: &'a mut Meter,
    /// How many runs may still be repeated.
    repeats: usize,
    count: Count,
}

/// A run that came to its end.
struct Ran {
    /// Which entry of the job it was.
    entry: usize,
    figures: Figures,
    around: Around,
    repeated: u32,
}

impl Runs<'_> {
    /// One round of a workload: every contestant once, and those that were disturbed again.
    fn round(
        &mut self,
        job: &mut Job,
        round: usize,
        mut show: impl FnMut(&str),
    ) -> Result<(), String> {
        let number = job.entries.len();
        let mut ran: Vec<Ran> = Vec::new();
        for turn in 0..number {
            let at = (turn + round) % number;
            show(&job.what(at));
            if job.entries[at].failure.is_none() {
                ran.extend(self.run(job, at)?);
            }
        }
        let mut repeats = self.repeats;
        let verdicts = settle(&mut ran, &mut repeats, |entry| {
            show(&job.what(entry));
            self.run(job, entry)
        })?;
        self.repeats = repeats;
        for entry in &mut job.entries {
            entry.rounds.push(None);
            entry.work.push(None);
        }
        for (ran, verdict) in ran.into_iter().zip(verdicts) {
            self.count.add(verdict);
            let entry = &mut job.entries[ran.entry];
            entry.disturbed += u32::from(verdict.is_some());
            entry.rounds[round] = Some(ran.figures);
            entry.work[round] = Some(ran.around.work());
        }
        Ok(())
    }

    /// Runs one contestant; `None` when it failed, which its entry tells then.
    fn run(&mut self, job: &mut Job, at: usize) -> Result<Option<Ran>, String> {
        let entry = &mut job.entries[at];
        let command = command(job.suite, &job.row, entry.contestant, self.options);
        let before = self.meter.read();
        let ran = run(command)?;
        let after = self.meter.read();
        match ran {
            Ok(figures) => Ok(Some(Ran {
                entry: at,
                figures,
                around: Around { before, after },
                repeated: 0,
            })),
            Err(why) => {
                entry.failure = Some(why);
                Ok(None)
            }
        }
    }
}

/// Judges the runs of a round, and repeats what was disturbed with `again`, as long as `repeats` lasts. The verdicts are on what `ran` holds then.
fn settle(
    ran: &mut [Ran],
    repeats: &mut usize,
    mut again: impl FnMut(usize) -> Result<Option<Ran>, String>,
) -> Result<Vec<Option<Disturbance>>, String> {
    loop {
        let arounds: Vec<Around> = ran.iter().map(|ran| ran.around).collect();
        let verdicts = judge(&arounds);
        let disturbed: Vec<usize> = (0..ran.len())
            .filter(|&n| verdicts[n].is_some() && ran[n].repeated < REPEATS)
            .take(*repeats)
            .collect();
        if disturbed.is_empty() {
            return Ok(verdicts);
        }
        *repeats -= disturbed.len();
        for n in disturbed {
            // One that fails when it is repeated has failed; what it did before stands.
            if let Some(new) = again(ran[n].entry)? {
                (ran[n].figures, ran[n].around) = (new.figures, new.around);
            }
            ran[n].repeated += 1;
        }
    }
}

impl Job {
    /// What is shown while this entry of it runs.
    fn what(&self, at: usize) -> String {
        let contestant = self.entries[at].contestant;
        format!(
            "{}: {}: {}",
            self.suite.name, self.row.name, contestant.title
        )
    }
}

/// A suite's table from the runs.
fn table(suite: &Suite, options: &Options, jobs: &[Job]) -> SuiteResults {
    let rows = chosen(suite, options).filter_map(|row| {
        let job = jobs
            .iter()
            .find(|job| job.suite.name == suite.name && job.row.shares_runs_with(row))?;
        let mine = |id: &&str| job.entries.iter().find(|entry| entry.contestant.id == *id);
        let entries: Vec<&Entry> = row.contestants.iter().filter_map(mine).collect();
        let units = entries
            .iter()
            .flat_map(|entry| entry.rounds.iter().flatten());
        let unit = units
            .filter_map(|figures| figures.get(row.figure))
            .map(|(_, unit)| unit.clone())
            .next();
        let unit = unit.unwrap_or_default();
        Some(RowResults {
            name: row.title(),
            group: row.group.to_owned(),
            help: row.help.to_owned(),
            better: row.better,
            cells: entries
                .into_iter()
                .map(|entry| cell(entry, row, &unit))
                .collect(),
            unit,
        })
    });
    SuiteResults {
        name: suite.name.to_owned(),
        help: suite.help.to_owned(),
        rows: rows.collect(),
    }
}

fn cell(entry: &Entry, row: &Row, unit: &str) -> Cell {
    let mut failure = entry.failure.clone();
    let values = entry
        .rounds
        .iter()
        .map(|figures| match figures.as_ref()?.get(row.figure) {
            Some((value, its)) if its == unit => Some(*value),
            Some((_, its)) => {
                failure
                    .get_or_insert_with(|| format!("{} is in {its} and not in {unit}", row.figure));
                None
            }
            None => {
                failure.get_or_insert_with(|| format!("it reports no figure {}", row.figure));
                None
            }
        })
        .collect();
    Cell {
        contestant: entry.contestant.id.to_owned(),
        values,
        work: entry.work.clone(),
        disturbed: entry.disturbed,
        failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::meter::alone;
    use crate::bench::row::{Better, Pin};

    const ROW: Row = Row {
        name: "speed",
        group: "",
        help: "How fast.",
        workload: "w",
        arguments: &["n=1"],
        environment: &[],
        figure: "time",
        better: Better::Lower,
        pin: Pin::Any,
        contestants: &["goruntime", "go"],
    };
    static SUITE: Suite = Suite {
        name: "gc",
        help: "",
        rows: &[
            ROW,
            Row {
                name: "memory",
                figure: "peak_rss",
                contestants: &["goruntime", "go", "boehm"],
                ..ROW
            },
            Row {
                name: "alone",
                pin: Pin::One,
                ..ROW
            },
        ],
    };

    #[test]
    fn rows_about_the_same_runs_share_them() {
        let jobs = jobs(&[&SUITE], &Options::default(), |id| id != "go");
        let runs: Vec<usize> = jobs.iter().map(|job| job.entries.len()).collect();
        assert_eq!(runs, [2, 1]);
    }

    /// Runs one after the other, by the milliseconds of the meter's work before and after each.
    fn ran(work: &[[f64; 2]]) -> Vec<Ran> {
        let run = |(entry, work): (usize, &[f64; 2])| Ran {
            entry,
            figures: Figures::new(),
            around: alone(2.0 * entry as f64, *work),
            repeated: 0,
        };
        work.iter().enumerate().map(run).collect()
    }

    #[test]
    fn what_was_disturbed_is_repeated_until_it_is_like_the_others() {
        let mut runs = ran(&[[10.0, 10.0], [10.0, 20.0], [20.0, 20.0], [10.0, 10.0]]);
        let (mut repeats, mut again) = (9, Vec::new());
        let verdicts = settle(&mut runs, &mut repeats, |entry| {
            again.push(entry);
            // The load goes away while the first is repeated.
            let work = [if again.len() == 1 { 20.0 } else { 10.0 }, 10.0];
            let around = alone(10.0 + again.len() as f64, work);
            Ok(ran(&[work]).pop().map(|run| Ran { around, ..run }))
        });
        assert_eq!(verdicts, Ok(vec![None; 4]));
        assert_eq!((again, repeats), (vec![1, 2, 1], 6));
    }

    #[test]
    fn repetition_has_bounds() {
        let unlike = [[10.0, 10.0], [10.0, 10.0], [20.0, 20.0]];
        for (mut repeats, times) in [(9, REPEATS), (1, 1), (0, 0)] {
            let (mut runs, mut again) = (ran(&unlike), 0);
            let verdicts = settle(&mut runs, &mut repeats, |_| {
                again += 1;
                Ok(ran(&unlike).pop())
            });
            assert_eq!(again, times);
            assert!(verdicts.unwrap()[2].is_some());
        }
    }

    #[test]
    fn a_figure_that_is_missing_fails_its_cell_only() {
        let figures = Figures::from([("time".to_owned(), (2.0, "ns".to_owned()))]);
        let entry = Entry {
            rounds: vec![Some(figures)],
            ..Entry::new(contestants::find("go"))
        };
        assert_eq!(cell(&entry, &SUITE.rows[0], "ns").values, [Some(2.0)]);
        let missing = cell(&entry, &SUITE.rows[1], "MB");
        assert!(missing.failure.unwrap().contains("peak_rss"));
        assert!(cell(&entry, &SUITE.rows[0], "us").failure.is_some());
    }
}
