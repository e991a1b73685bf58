//! What was measured: kept as JSON, so that a page or a plot can be made from it later.
//!
//! The format (version 1): an object with `version`, `date`, `rounds`, `disturbed` (why the whole is not to be trusted, or null), `speed` (the machine's, as
//! shares of the best that was read: `typical`, `low`, `high`; or null), `machine` (a list of pairs), `contestants` (`id`, `title`, `version`), `skipped`
//! (`id`, `why`) and `suites`: each with `name`, `help` and `rows` in groups (`group`), whose `cells` have `contestant`, `values` (one a round, null where there is none), `work`
//! (the seconds that the load meter's work took before and after each), `disturbed` (how many of them) and `failure` (text or null). Values are in the row's
//! `unit`; `better` is `lower` or `higher`.

use super::machine::Description;
use super::meter::Speed;
use super::row::Better;
use super::statistics::{Summary, geometric_mean};
use crate::workspace::{at, list_at, text_at};
use std::collections::HashMap;
use tinyjson::JsonValue;

/// Everything of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// When.
    pub date: String,
    /// How many rounds there were.
    pub rounds: u32,
    /// Why the whole is not to be trusted.
    pub disturbed: Option<String>,
    /// How fast the machine was.
    pub speed: Option<Speed>,
    /// Where.
    pub machine: Description,
    /// Who: id, title and version.
    pub contestants: Vec<[String; 3]>,
    /// Who could not take part: id and reason.
    pub skipped: Vec<[String; 2]>,
    /// The tables.
    pub suites: Vec<SuiteResults>,
}

/// A suite's table.
#[derive(Clone, Debug, PartialEq)]
pub struct SuiteResults {
    /// As on the command line.
    pub name: String,
    /// What it is about.
    pub help: String,
    /// Its lines.
    pub rows: Vec<RowResults>,
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct RowResults {
    /// Unique within the suite.
    pub name: String,
    /// The group that it is in, or nothing.
    pub group: String,
    /// What is counted.
    pub help: String,
    /// Of all its values.
    pub unit: String,
    /// Which way it is good.
    pub better: Better,
    /// Ours first.
    pub cells: Vec<Cell>,
}

/// What one contestant did in one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// By id.
    pub contestant: String,
    /// One a round.
    pub values: Vec<Option<f64>>,
    /// How long the load meter's work took before and after each, in seconds.
    pub work: Vec<Option<[f64; 2]>>,
    /// How many of them were disturbed.
    pub disturbed: u32,
    /// What went wrong, if something did.
    pub failure: Option<String>,
}

impl Cell {
    /// Its values together; `None` if there is none.
    pub fn summary(&self) -> Option<Summary> {
        Summary::of(&self.values.iter().copied().flatten().collect::<Vec<_>>())
    }

    /// Was at least half of it disturbed?
    pub fn is_disturbed(&self) -> bool {
        self.disturbed * 2 >= self.values.len().max(1) as u32
    }
}

impl RowResults {
    /// How many times as good ours is as `theirs`: the ratio of each round, together.
    pub fn ratio(&self, theirs: &Cell) -> Option<Summary> {
        let ours = self.cells.first()?;
        let ratios: Vec<f64> = ours
            .values
            .iter()
            .zip(&theirs.values)
            .filter_map(|(ours, theirs)| Some(self.better.ratio((*ours)?, (*theirs)?)))
            .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
            .collect();
        Summary::of(&ratios)
    }

    /// Were the runs of `theirs`, or ours, disturbed too often for the ratio between them?
    pub fn is_disturbed(&self, theirs: &Cell) -> bool {
        theirs.is_disturbed() || self.cells.first().is_some_and(Cell::is_disturbed)
    }

    /// The name within its group, which follows the name of a row that is about the same runs as another.
    pub fn short_name(&self) -> &str {
        let short = self.name.strip_suffix(self.group.as_str());
        match short.and_then(|name| name.strip_suffix(", ")) {
            Some(name) if !self.group.is_empty() => name,
            _ => &self.name,
        }
    }

    /// The cells of others.
    pub fn peers(&self) -> &[Cell] {
        self.cells.get(1..).unwrap_or_default()
    }
}

impl SuiteResults {
    /// The ids of those that have a value or a failure somewhere, ours first.
    pub fn contestants(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for cell in self.rows.iter().flat_map(|row| &row.cells) {
            if !all.contains(&cell.contestant.as_str()) {
                all.push(&cell.contestant);
            }
        }
        all
    }

    /// The groups that its rows are in, in their order.
    pub fn groups(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !all.contains(&row.group.as_str()) {
                all.push(&row.group);
            }
        }
        all
    }

    /// The rows of a group.
    pub fn rows_of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a RowResults> {
        self.rows.iter().filter(move |row| row.group == group)
    }

    /// The geometric mean of the ratios to a peer in a group of rows, and of how many.
    pub fn mean_ratio(&self, peer: &str, group: &str) -> Option<(f64, usize)> {
        let ratios: Vec<f64> = self
            .rows_of(group)
            .filter_map(|row| {
                let cell = row.peers().iter().find(|cell| cell.contestant == peer)?;
                row.ratio(cell).map(|ratio| ratio.median)
            })
            .collect();
        geometric_mean(&ratios).map(|mean| (mean, ratios.len()))
    }
}

fn text(text: &str) -> JsonValue {
    JsonValue::String(text.to_owned())
}

fn optional(value: &Option<String>) -> JsonValue {
    value.as_ref().map_or(JsonValue::Null, |value| text(value))
}

fn object<const N: usize>(fields: [(&str, JsonValue); N]) -> JsonValue {
    JsonValue::Object(HashMap::from(
        fields.map(|(key, value)| (key.to_owned(), value)),
    ))
}

fn list<T>(from: &[T], each: impl Fn(&T) -> JsonValue) -> JsonValue {
    JsonValue::Array(from.iter().map(each).collect())
}

impl Results {
    /// As JSON.
    pub fn to_json(&self) -> String {
        let cell = |cell: &Cell| {
            object([
                ("contestant", text(&cell.contestant)),
                (
                    "values",
                    list(&cell.values, |v| {
                        v.map_or(JsonValue::Null, JsonValue::Number)
                    }),
                ),
                (
                    "work",
                    list(&cell.work, |work| {
                        work.map_or(JsonValue::Null, |work| {
                            list(&work, |seconds| JsonValue::Number(*seconds))
                        })
                    }),
                ),
                ("disturbed", JsonValue::Number(cell.disturbed.into())),
                ("failure", optional(&cell.failure)),
            ])
        };
        let row = |row: &RowResults| {
            let better = match row.better {
                Better::Lower => "lower",
                Better::Higher => "higher",
            };
            object([
                ("name", text(&row.name)),
                ("group", text(&row.group)),
                ("help", text(&row.help)),
                ("unit", text(&row.unit)),
                ("better", text(better)),
                ("cells", list(&row.cells, cell)),
            ])
        };
        let suite = |suite: &SuiteResults| {
            object([
                ("name", text(&suite.name)),
                ("help", text(&suite.help)),
                ("rows", list(&suite.rows, row)),
            ])
        };
        let json = object([
            ("version", JsonValue::Number(1.0)),
            ("date", text(&self.date)),
            ("rounds", JsonValue::Number(self.rounds.into())),
            ("disturbed", optional(&self.disturbed)),
            (
                "speed",
                self.speed.map_or(JsonValue::Null, |speed| {
                    object([
                        ("typical", JsonValue::Number(speed.typical)),
                        ("low", JsonValue::Number(speed.low)),
                        ("high", JsonValue::Number(speed.high)),
                    ])
                }),
            ),
            (
                "machine",
                list(&self.machine, |(what, is)| {
                    JsonValue::Array(vec![text(what), text(is)])
                }),
            ),
            (
                "contestants",
                list(&self.contestants, |[id, title, version]| {
                    object([
                        ("id", text(id)),
                        ("title", text(title)),
                        ("version", text(version)),
                    ])
                }),
            ),
            (
                "skipped",
                list(&self.skipped, |[id, why]| {
                    object([("id", text(id)), ("why", text(why))])
                }),
            ),
            ("suites", list(&self.suites, suite)),
        ]);
        // Only numbers that are not finite cannot be written, and there are none: a contestant's figure is checked when it is read.
        json.format().unwrap_or_default() + "\n"
    }

    /// From JSON.
    ///
    /// # Errors
    /// When it is not JSON, or not of this version; what is missing in it is taken as empty.
    pub fn from_json(json: &str) -> Result<Results, String> {
        let json: JsonValue = json.parse().map_err(|why| format!("not JSON: {why}"))?;
        if number_at(&json, "version") != Some(1.0) {
            return Err("not results of version 1".to_owned());
        }
        let word =
            |json: &JsonValue, key: &str| text_at(json, &[key]).unwrap_or_default().to_owned();
        let maybe = |json: &JsonValue, key: &str| text_at(json, &[key]).map(str::to_owned);
        let pair_of_numbers = |json: &JsonValue| match json
            .get::<Vec<JsonValue>>()
            .map(Vec::as_slice)
        {
            Some([JsonValue::Number(before), JsonValue::Number(after)]) => Some([*before, *after]),
            _ => None,
        };
        let cell = |json: &JsonValue| Cell {
            contestant: word(json, "contestant"),
            values: list_at(json, &["values"])
                .iter()
                .map(|v| v.get::<f64>().copied())
                .collect(),
            work: list_at(json, &["work"])
                .iter()
                .map(pair_of_numbers)
                .collect(),
            disturbed: number_at(json, "disturbed").unwrap_or_default() as u32,
            failure: maybe(json, "failure"),
        };
        let row = |json: &JsonValue| RowResults {
            name: word(json, "name"),
            group: word(json, "group"),
            help: word(json, "help"),
            unit: word(json, "unit"),
            better: if word(json, "better") == "higher" {
                Better::Higher
            } else {
                Better::Lower
            },
            cells: list_at(json, &["cells"]).iter().map(cell).collect(),
        };
        let suite = |json: &JsonValue| SuiteResults {
            name: word(json, "name"),
            help: word(json, "help"),
            rows: list_at(json, &["rows"]).iter().map(row).collect(),
        };
        let pair = |json: &JsonValue| match json.get::<Vec<JsonValue>>().map(Vec::as_slice) {
            Some([JsonValue::String(what), JsonValue::String(is)]) => {
                Some((what.clone(), is.clone()))
            }
            _ => None,
        };
        Ok(Results {
            date: word(&json, "date"),
            rounds: number_at(&json, "rounds").unwrap_or_default() as u32,
            disturbed: maybe(&json, "disturbed"),
            speed: at(&json, &["speed"]).and_then(|speed| {
                Some(Speed {
                    typical: number_at(speed, "typical")?,
                    low: number_at(speed, "low")?,
                    high: number_at(speed, "high")?,
                })
            }),
            machine: list_at(&json, &["machine"])
                .iter()
                .filter_map(pair)
                .collect(),
            contestants: list_at(&json, &["contestants"])
                .iter()
                .map(|c| ["id", "title", "version"].map(|key| word(c, key)))
                .collect(),
            skipped: list_at(&json, &["skipped"])
                .iter()
                .map(|s| ["id", "why"].map(|key| word(s, key)))
                .collect(),
            suites: list_at(&json, &["suites"]).iter().map(suite).collect(),
        })
    }

    /// What a contestant is called.
    pub fn title<'a>(&'a self, id: &'a str) -> &'a str {
        self.contestants
            .iter()
            .find(|[known, ..]| known == id)
            .map_or(id, |[_, title, _]| title)
    }
}

fn number_at(json: &JsonValue, key: &str) -> Option<f64> {
    at(json, &[key])?.get::<f64>().copied()
}

/// A small table, for the tests of what is made from one.
#[cfg(test)]
pub fn sample() -> Results {
    let cell = |contestant: &str, values: &[f64]| Cell {
        contestant: contestant.to_owned(),
        values: values.iter().map(|v| Some(*v)).collect(),
        work: values.iter().map(|_| Some([0.011, 0.012])).collect(),
        ..Cell::default()
    };
    let failed = Cell {
        values: vec![None, None],
        work: vec![None, None],
        failure: Some("out of | memory".to_owned()),
        ..cell("may", &[])
    };
    let rows = vec![
        RowResults {
            name: "spawn & join".to_owned(),
            group: String::new(),
            help: "Tasks are started; the time for each.".to_owned(),
            unit: "ns".to_owned(),
            better: Better::Lower,
            cells: vec![
                cell("goruntime", &[100.0, 120.0]),
                cell("go", &[200.0, 240.0]),
                failed,
            ],
        },
        RowResults {
            name: "echo".to_owned(),
            group: String::new(),
            help: "Requests in a second.".to_owned(),
            unit: "1/s".to_owned(),
            better: Better::Higher,
            cells: vec![
                cell("goruntime", &[50_000.0, 50_000.0]),
                Cell {
                    disturbed: 2,
                    ..cell("go", &[100_000.0, 100_000.0])
                },
            ],
        },
    ];
    Results {
        date: "2026-01-02".to_owned(),
        rounds: 2,
        disturbed: None,
        speed: Some(Speed {
            typical: 0.8,
            low: 0.7,
            high: 0.95,
        }),
        machine: vec![("processor".to_owned(), "a fast one".to_owned())],
        contestants: [
            ["goruntime", "goruntime", "0.1.0"],
            ["go", "Go", "1.27.3"],
            ["may", "may", "0.3"],
        ]
        .map(|c| c.map(str::to_owned))
        .to_vec(),
        skipped: vec![["mmtk", "no compiler"].map(str::to_owned)],
        suites: vec![SuiteResults {
            name: "sched".to_owned(),
            help: "the scheduler".to_owned(),
            rows,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_being_written_and_read() {
        let results = sample();
        assert_eq!(Results::from_json(&results.to_json()), Ok(results));
        assert!(Results::from_json("{\"version\": 2}").is_err());
        assert!(Results::from_json("{").is_err());
    }

    #[test]
    fn above_one_ours_is_ahead_whichever_way_is_good() {
        let suite = &sample().suites[0];
        let ratio = |row: usize| {
            suite.rows[row]
                .ratio(&suite.rows[row].cells[1])
                .unwrap()
                .median
        };
        assert_eq!((ratio(0), ratio(1)), (2.0, 0.5));
        assert_eq!(suite.mean_ratio("go", ""), Some((1.0, 2)));
        assert_eq!(suite.mean_ratio("may", ""), None);
    }

    #[test]
    fn groups_have_means_of_their_own() {
        let mut suite = sample().suites.remove(0);
        suite.rows[1].group = "rates".to_owned();
        suite.rows[1].name = "echo, rates".to_owned();
        assert_eq!(suite.groups(), ["", "rates"]);
        assert_eq!(suite.mean_ratio("go", "rates"), Some((0.5, 1)));
        let names: Vec<&str> = suite.rows.iter().map(RowResults::short_name).collect();
        assert_eq!(names, ["spawn & join", "echo"]);
    }

    #[test]
    fn half_disturbed_is_disturbed() {
        let suite = &sample().suites[0];
        assert!(suite.rows[1].cells[1].is_disturbed());
        assert!(!suite.rows[1].cells[0].is_disturbed());
        assert!(suite.rows[1].is_disturbed(&suite.rows[1].cells[1]));
        assert!(!suite.rows[0].is_disturbed(&suite.rows[0].cells[1]));
    }
}
