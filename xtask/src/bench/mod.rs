//! `cargo xtask bench`: this runtime and its peers, measured in turn on the same machine.
//!
//! Absolute times of a shared machine mean little; so every contestant runs in every round, what is shown are ratios, and a load meter watches
//! whether the contestants of a row ran under like conditions. The contestants are programs of a package of their own, `tests/bench`, which
//! measure and check themselves. The modules point one way:
//!
//! ```text
//!   mod                                    the command
//!   page  table                            the book's page, the terminal
//!   plot                                   pictures
//!   measure                                rounds of runs
//!   run                                    one of them
//!   results                                what came of them, kept as JSON
//!   machine  prepare                       where, and with what
//!   options                                what is asked for
//!   suites                                 the rows
//!   contestants  row  meter
//!   statistics
//! ```

mod contestants;
mod machine;
mod measure;
mod meter;
mod options;
mod page;
mod plot;
mod prepare;
mod results;
mod row;
mod run;
mod statistics;
mod suites;
mod table;

use crate::console::{Region, Row, Style};
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use contestants::Contestant;
use measure::{Measured, Position};
use meter::Meter;
use options::Options;
use prepare::Prepared;
use results::Results;
use row::Suite;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use suites::SUITES;

/// Share of the runs that may have been disturbed; with more the whole is not to be relied on.
const TOLERATED: f64 = 0.2;

/// How often progress is told where there is no terminal to redraw.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The contestant in Go, if it has been built.
pub fn go_contestant() -> Option<PathBuf> {
    let program = prepare::folder().join("go/contestant");
    program.exists().then_some(program)
}

/// Runs the command.
pub fn run(arguments: lexopt::Parser) -> Outcome {
    let Some(options) = options::read(arguments)? else {
        print!("{}", options::help());
        return Ok(ExitCode::SUCCESS);
    };
    let suites: Vec<&'static Suite> = SUITES
        .iter()
        .filter(|suite| options.suites.contains(&suite.name))
        .collect();
    if options.list {
        list(&suites, &options);
        return Ok(ExitCode::SUCCESS);
    }
    if options.report {
        return report();
    }
    let chosen = chosen(&suites, &options);
    if chosen.is_empty() {
        return Err(Failure::Usage(
            "no row has that in its name; `--list` names them".to_owned(),
        ));
    }
    interrupt::watch();
    let results = match all(&suites, &chosen, &options) {
        Ok(results) => results,
        Err(why) => match interrupt::pending() {
            Some(signal) => return Ok(ExitCode::from(interrupt::exit_code(signal))),
            None => return Err(why.into()),
        },
    };
    println!();
    for row in table::render(&results) {
        row.print()?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, results.to_json())
            .map_err(|why| format!("cannot write {}: {why}", path.display()))?;
        println!("results: {}", path.display());
    }
    if options.is_full() {
        if results.disturbed.is_none() || options.force {
            println!("page: {}", page::write(&results)?.display());
        } else {
            println!(
                "the page is left as it is, because the machine was disturbed (--force writes it)"
            );
        }
    }
    let is_ours_whole = results
        .suites
        .iter()
        .flat_map(|suite| &suite.rows)
        .all(|row| row.cells.first().is_some_and(|ours| ours.failure.is_none()));
    Ok(if is_ours_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Writes the page from the kept results.
fn report() -> Outcome {
    let path = page::kept();
    let text = std::fs::read_to_string(&path).map_err(|why| {
        format!(
            "cannot read {}: {why}; `cargo xtask bench all --peers` makes it",
            path.display()
        )
    })?;
    let results = Results::from_json(&text).map_err(|why| format!("{}: {why}", path.display()))?;
    println!("page: {}", page::write(&results)?.display());
    Ok(ExitCode::SUCCESS)
}

fn list(suites: &[&Suite], options: &Options) {
    for suite in suites {
        println!("{}: {}", suite.name, suite.help);
        let (mut group, mut told) = ("", "");
        for row in measure::chosen(suite, options) {
            if row.group != group {
                group = row.group;
                println!("  [{group}]");
            }
            if row.is_peak() {
                // One sentence is about all of them.
                if told != row.help {
                    told = row.help;
                    println!("  of each of the rows: {told}");
                }
                continue;
            }
            println!("  {}: {}", row.title(), row.help);
            println!("    {}", row.contestants.join(", "));
        }
    }
}

/// The contestants of the rows that are asked for.
fn chosen(suites: &[&'static Suite], options: &Options) -> Vec<&'static Contestant> {
    let wanted = |id: &str| options.only.is_empty() || options.only.iter().any(|only| only == id);
    let ids: Vec<&str> = suites
        .iter()
        .flat_map(|suite| measure::chosen(suite, options))
        .flat_map(|row| row.contestants)
        .copied()
        .collect();
    contestants::CONTESTANTS
        .iter()
        .filter(|contestant| {
            ids.contains(&contestant.id) && (wanted(contestant.id) || !contestant.is_peer)
        })
        .collect()
}

/// Prepares, measures, and puts everything together.
fn all(
    suites: &[&'static Suite],
    chosen: &[&'static Contestant],
    options: &Options,
) -> Result<Results, String> {
    let prepared = prepare::prepare(chosen, options, |what| println!("{what}"))?;
    let (mut meter, already) = Meter::calibrate();
    if let Some(disturbance) = already {
        println!("before anything was measured, {disturbance}");
    }
    let mut progress = Progress::begin();
    let is_ready = |id: &str| prepared.versions.contains_key(id);
    let measured = measure::measure(suites, options, &mut meter, is_ready, |position| {
        progress.show(position);
    })?;
    drop(progress);
    Ok(together(measured, prepared))
}

fn together(measured: Measured, prepared: Prepared) -> Results {
    let count = measured.disturbed;
    let percent = |number: u32| f64::from(number) / f64::from(count.all.max(1)) * 100.0;
    let version = |contestant: &&Contestant| {
        let version = prepared.versions.get(contestant.id)?;
        Some([contestant.id, contestant.title, version].map(str::to_owned))
    };
    Results {
        date: machine::today(),
        rounds: measured.rounds,
        disturbed: (count.share() > TOLERATED).then(|| {
            format!(
                "{:.0} % of the runs were disturbed and stayed so: {:.0} % ran at another speed of the machine than the others of their row, {:.0} % beside work of others",
                count.share() * 100.0,
                percent(count.unlike),
                percent(count.foreign)
            )
        }),
        speed: measured.speed,
        machine: machine::describe(),
        contestants: contestants::CONTESTANTS
            .iter()
            .filter_map(|c| version(&c))
            .collect(),
        skipped: prepared
            .skipped
            .iter()
            .map(|(id, why)| [(*id).to_owned(), why.clone()])
            .collect(),
        suites: measured.suites,
    }
}

/// How far the measurement is: a line redrawn in place, or now and then a line of its own.
struct Progress {
    region: Option<Region>,
    begin: Instant,
    told: Instant,
}

impl Progress {
    fn begin() -> Progress {
        let now = Instant::now();
        Progress {
            region: Region::begin(),
            begin: now,
            told: now.checked_sub(HEARTBEAT).unwrap_or(now),
        }
    }

    fn show(&mut self, position: &Position) {
        let share = position.done as f64 / position.of.max(1) as f64;
        let elapsed = self.begin.elapsed().as_secs_f64();
        let left = match share {
            share if share > 0.02 => {
                format!("about {:.0} min left", (elapsed / share - elapsed) / 60.0)
            }
            _ => String::new(),
        };
        let text = format!(
            "round {}, run {} of {}: {}  {left}",
            position.round,
            position.done + 1,
            position.of,
            position.what
        );
        if let Some(region) = &mut self.region {
            // A terminal that is gone is no reason to lose the measurement.
            let _ = region.draw(&[Row::new().with(Style::Dim, text)]);
        } else if self.told.elapsed() >= HEARTBEAT {
            self.told = Instant::now();
            println!("{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(region) = &mut self.region {
            let _ = region.clear();
        }
    }
}
