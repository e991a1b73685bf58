//! The results as tables in the terminal.

use super::results::{Cell, Results, RowResults, SuiteResults};
use crate::console::{Row, Style};

/// Columns of a peer's ratio.
const RATIO: usize = 13;

/// Columns of our own figure.
const OURS: usize = 19;

/// A number with three digits that count.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.2}M", value / 1e6),
        v if v >= 1e4 => format!("{:.1}k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A value with its unit: times in the unit in which they have few digits.
pub fn quantity(value: f64, unit: &str) -> String {
    const TIMES: &[&str] = &["ns", "us", "ms", "s"];
    let (mut value, mut unit) = (value, unit);
    while value.abs() >= 1e4
        && let Some(at) = TIMES.iter().position(|known| *known == unit)
        && let Some(larger) = TIMES.get(at + 1)
    {
        (value, unit) = (value / 1e3, larger);
    }
    format!("{} {unit}", number(value))
}

/// What a run of the whole comes to, as rows of text.
pub fn render(results: &Results) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(why) = &results.disturbed {
        rows.push(Row::new().with(
            Style::Bad,
            format!("The machine was disturbed: {why}. Do not rely on these figures."),
        ));
        rows.push(Row::new());
    }
    for suite in &results.suites {
        if suite.rows.is_empty() {
            continue;
        }
        rows.extend(render_suite(results, suite));
        rows.push(Row::new());
    }
    for [id, why] in &results.skipped {
        rows.push(Row::new().with(Style::Dim, format!("skipped: {}: {why}", results.title(id))));
    }
    let note = format!(
        "Ratios: how many times as good ours is; above 1 ours is ahead. Medians of {} rounds, ± half the distance between the quartiles. ~ disturbed.",
        results.rounds
    );
    rows.push(Row::new().with(Style::Dim, note));
    if let Some(speed) = &results.speed {
        rows.push(Row::new().with(Style::Dim, format!("{speed}.")));
    }
    rows
}

fn render_suite(results: &Results, suite: &SuiteResults) -> Vec<Row> {
    let mut notes: Vec<String> = Vec::new();
    let all = suite.contestants();
    let is_peer = |id: &&&str| {
        suite
            .rows
            .iter()
            .any(|row| row.peers().iter().any(|cell| cell.contestant == **id))
    };
    let peers: Vec<&str> = all.iter().filter(is_peer).copied().collect();
    let width = suite
        .rows
        .iter()
        .map(|row| row.short_name().chars().count())
        .max()
        .unwrap_or(0)
        + 2;
    let title = format!("{}: {}", suite.name, suite.help);
    let mut rows = vec![Row::new().with(Style::Bold, title)];
    for group in suite.groups() {
        let mut head = Row::new().with(Style::Dim, format!("{group:width$}{:>OURS$}", "ours"));
        for peer in &peers {
            head = head.with(
                Style::Dim,
                format!("{:>RATIO$}", cut(results.title(peer), RATIO - 1)),
            );
        }
        rows.push(head);
        for row in suite.rows_of(group) {
            let ours = row
                .cells
                .first()
                .map_or_else(String::new, |cell| our_figure(cell, &row.unit, &mut notes));
            let name = row.short_name();
            let mut line = Row::new().with(Style::Plain, format!("{name:width$}{ours:>OURS$}"));
            for peer in &peers {
                let (style, text) = match row.peers().iter().find(|cell| cell.contestant == *peer) {
                    None => (Style::Dim, "-".to_owned()),
                    Some(cell) => ratio(row, cell, &mut notes),
                };
                line = line.with(style, format!("{text:>RATIO$}"));
            }
            rows.push(line);
        }
        if !peers.is_empty() {
            let mut line = Row::new().with(
                Style::Bold,
                format!("{:width$}{:>OURS$}", "geometric mean", ""),
            );
            for peer in &peers {
                let (style, text) = match suite.mean_ratio(peer, group) {
                    Some((mean, _)) => (judgement(mean), format!("{}x", number(mean))),
                    None => (Style::Dim, "-".to_owned()),
                };
                line = line.with(style, format!("{text:>RATIO$}"));
            }
            rows.push(line);
        }
    }
    rows.extend(
        (1..)
            .zip(notes)
            .map(|(n, note)| Row::new().with(Style::Dim, format!("  [{n}] {note}"))),
    );
    rows
}

fn judgement(ratio: f64) -> Style {
    if ratio < 1.0 { Style::Bad } else { Style::Good }
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// The mark for a failure, whose text becomes a note.
fn failure(cell: &Cell, notes: &mut Vec<String>) -> String {
    let why = cell.failure.as_deref().unwrap_or("it reports nothing");
    notes.push(format!("{}: {why}", cell.contestant));
    format!("failed [{}]", notes.len())
}

fn our_figure(cell: &Cell, unit: &str, notes: &mut Vec<String>) -> String {
    let Some(summary) = cell.summary() else {
        return failure(cell, notes);
    };
    let mark = if cell.is_disturbed() { "~" } else { "" };
    format!(
        "{mark}{} ±{:.0}%",
        quantity(summary.median, unit),
        summary.spread()
    )
}

fn ratio(row: &RowResults, cell: &Cell, notes: &mut Vec<String>) -> (Style, String) {
    if cell.failure.is_some() {
        return (Style::Dim, failure(cell, notes));
    }
    let Some(ratio) = row.ratio(cell) else {
        return (Style::Dim, "-".to_owned());
    };
    let mark = if row.is_disturbed(cell) { "~" } else { "" };
    let text = format!("{mark}{}x ±{:.0}%", number(ratio.median), ratio.spread());
    (judgement(ratio.median), text)
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    fn text(results: &Results) -> String {
        let lines: Vec<String> = render(results)
            .iter()
            .map(|row| row.paint(usize::MAX, false))
            .collect();
        lines.join("\n")
    }

    #[test]
    fn numbers_have_three_digits() {
        let numbers = [0.1234, 1.234, 12.34, 123.4, 1234.0, 12_345.0, 1_234_567.0].map(number);
        assert_eq!(
            numbers,
            ["0.12", "1.23", "12.3", "123", "1234", "12.3k", "1.23M"]
        );
    }

    #[test]
    fn long_times_have_larger_units() {
        assert_eq!(quantity(9999.0, "ns"), "9999 ns");
        assert_eq!(quantity(48_600.0, "ns"), "48.6 us");
        assert_eq!(quantity(2.5e10, "ns"), "25.0 s");
        assert_eq!(quantity(48_600.0, "1/s"), "48.6k 1/s");
    }

    #[test]
    fn a_table_has_ratios_marks_and_notes() {
        let text = text(&sample());
        for part in [
            "spawn & join",
            "110 ns ±5%",
            "2.00x",
            "~0.50x",
            "failed [1]",
            "[1] may: out of | memory",
            "1.00x",
            "skipped: mmtk: no compiler",
            "The machine ran at 80 % of the best speed",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("disturbed:"));
    }

    #[test]
    fn a_disturbed_run_says_so_first() {
        let results = Results {
            disturbed: Some("others used 80 % of a processor".to_owned()),
            ..sample()
        };
        assert!(text(&results).starts_with("The machine was disturbed: others used 80 %"));
    }
}
