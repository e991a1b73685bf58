//! The page of the book that shows the last full run, with its pictures.
//!
//! It is made from the kept results and from the notes, `docs/benchmarks/notes.md`, in which a heading `suite: row` begins the explanation of why a row
//! is behind, and a heading `suite: group` that of rows of a group that have none of their own. A row that is behind and has no note says so: it is the work list.

use super::plot;
use super::results::{Cell, Results, RowResults, SuiteResults};
use super::table::{number, quantity};
use crate::workspace;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A median ratio below this is behind; above it the two are as good as equal.
const BEHIND: f64 = 0.97;

/// What the page is made from.
fn sources() -> PathBuf {
    workspace::root().join("docs/benchmarks")
}

/// The pictures, beside the page.
fn pictures() -> PathBuf {
    workspace::root().join("docs/src/benchmarks")
}

/// Where the results of the last full run are kept.
pub fn kept() -> PathBuf {
    sources().join("results.json")
}

/// Writes the page, its pictures, and the results that they are made from.
///
/// # Errors
/// When a file cannot be read or written; the text names it.
pub fn write(results: &Results) -> Result<PathBuf, String> {
    let put = |path: PathBuf, text: &str| {
        std::fs::write(&path, text)
            .map_err(|why| format!("cannot write {}: {why}", path.display()))?;
        Ok::<PathBuf, String>(path)
    };
    for folder in [sources(), pictures()] {
        std::fs::create_dir_all(&folder)
            .map_err(|why| format!("cannot make {}: {why}", folder.display()))?;
    }
    let notes = std::fs::read_to_string(sources().join("notes.md")).unwrap_or_default();
    for suite in &results.suites {
        if let Some(svg) = plot::render(results, suite) {
            put(pictures().join(format!("{}.svg", suite.name)), &svg)?;
        }
    }
    put(kept(), &results.to_json())?;
    put(
        workspace::root().join("docs/src/benchmarks.md"),
        &render(results, &read_notes(&notes)),
    )
}

/// Explanations by `suite: row`.
fn read_notes(text: &str) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::new();
    for part in text.split("\n## ").skip(1) {
        if let Some((head, body)) = part.split_once('\n') {
            notes.insert(head.trim().to_owned(), body.trim().to_owned());
        }
    }
    notes
}

fn render(results: &Results, notes: &BTreeMap<String, String>) -> String {
    let mut page = String::from(
        "# Benchmarks\n\n<!-- Written by `cargo xtask bench all --peers`; explanations are in docs/benchmarks/notes.md. -->\n\n",
    );
    page.push_str(&format!(
        "The last full run, of {}: medians of {} rounds, in each of which all contestants of a row ran in turn. The command is\n`cargo xtask bench all --peers`. A ratio says how many times as good ours is: above 1 ours is ahead. `±` is half the distance between\nthe quartiles. `~` marks what was disturbed by others on the machine, or ran at another speed of the machine than the rest of its row.\n\n",
        results.date, results.rounds
    ));
    if let Some(speed) = &results.speed {
        page.push_str(&format!(
            "{speed}; that alone disturbs no\nratio, as long as it was so for all contestants of a row.\n\n"
        ));
    }
    if let Some(why) = &results.disturbed {
        page.push_str(&format!(
            "**The machine was disturbed: {why}. These figures are not to be relied on.**\n\n"
        ));
    }
    page.push_str(&behind(results, notes));
    for suite in results.suites.iter().filter(|suite| !suite.rows.is_empty()) {
        page.push_str(&section(results, suite));
    }
    page.push_str("## Machine and contestants\n\n| | |\n|---|---|\n");
    for (what, is) in &results.machine {
        page.push_str(&format!("| {} | {} |\n", cell_text(what), cell_text(is)));
    }
    for [_, title, version] in &results.contestants {
        page.push_str(&format!(
            "| {} | {} |\n",
            cell_text(title),
            cell_text(version)
        ));
    }
    for [id, why] in &results.skipped {
        page.push_str(&format!(
            "| {} | left out: {} |\n",
            cell_text(results.title(id)),
            cell_text(why)
        ));
    }
    page
}

/// The rows that fall behind somebody, with what is known of the reason.
fn behind(results: &Results, notes: &BTreeMap<String, String>) -> String {
    let mut lines = String::new();
    for suite in &results.suites {
        for row in &suite.rows {
            let slower: Vec<String> = row
                .peers()
                .iter()
                .filter_map(|cell| Some((cell, row.ratio(cell)?.median)))
                .filter(|(_, ratio)| *ratio < BEHIND)
                .map(|(cell, ratio)| {
                    format!("{} {}", results.title(&cell.contestant), number(ratio))
                })
                .collect();
            if slower.is_empty() {
                continue;
            }
            let name = format!("{}: {}", suite.name, row.name);
            let of_group = || notes.get(&format!("{}: {}", suite.name, row.group));
            let note = notes.get(&name).or_else(of_group);
            let note = note.map_or("not explained yet", String::as_str);
            lines.push_str(&format!(
                "- **{name}** ({}): {}\n",
                slower.join(", "),
                note.replace('\n', "\n  ")
            ));
        }
    }
    if lines.is_empty() {
        lines.push_str("Nowhere.\n");
    }
    format!("## Where ours is behind\n\n{lines}\n")
}

fn section(results: &Results, suite: &SuiteResults) -> String {
    let mut text = format!("## {}\n\n{}.\n\n", suite.name, capital(&suite.help));
    if plot::render(results, suite).is_some() {
        text.push_str(&format!(
            "![Ratios of the suite {0}](benchmarks/{0}.svg)\n\n",
            suite.name
        ));
    }
    let contestants = suite.contestants();
    for group in suite.groups() {
        let head = if group.is_empty() { "row" } else { group };
        text.push_str(&format!("| {head} |"));
        for id in &contestants {
            text.push_str(&format!(" {} |", cell_text(results.title(id))));
        }
        text.push_str(&format!("\n|---|{}\n", "--:|".repeat(contestants.len())));
        for row in suite.rows_of(group) {
            text.push_str(&format!("| {} |", cell_text(row.short_name())));
            for id in &contestants {
                let cell = row.cells.iter().find(|cell| cell.contestant == *id);
                text.push_str(&format!(
                    " {} |",
                    cell.map_or_else(|| "-".to_owned(), |cell| entry(row, cell))
                ));
            }
            text.push('\n');
        }
        text.push_str("| *geometric mean* |");
        for id in &contestants {
            let mean = suite
                .mean_ratio(id, group)
                .map(|(mean, rows)| format!("**{}** of {rows}", number(mean)));
            text.push_str(&format!(" {} |", mean.unwrap_or_default()));
        }
        text.push_str("\n\n");
    }
    // Rows that are about the runs of others share one sentence.
    let mut told = ("", "");
    for row in &suite.rows {
        let name = match row.short_name() {
            name if name == row.name => name,
            _ => &row.group,
        };
        if told != (name, &row.help) {
            told = (name, &row.help);
            text.push_str(&format!("- *{name}*: {}\n", row.help));
        }
    }
    text.push('\n');
    text
}

/// A contestant's figure, and the ratio where it is a peer's.
fn entry(row: &RowResults, cell: &Cell) -> String {
    let Some(summary) = cell.summary() else {
        let why = cell.failure.as_deref().unwrap_or("it reports nothing");
        return format!("failed: {}", cell_text(why));
    };
    let is_ours = row
        .cells
        .first()
        .is_some_and(|ours| ours.contestant == cell.contestant);
    let mark = if cell.is_disturbed() { "~" } else { "" };
    let value = format!(
        "{mark}{} ±{:.0} %",
        quantity(summary.median, &row.unit),
        summary.spread()
    );
    match row.ratio(cell) {
        Some(ratio) if !is_ours => {
            let mark = if row.is_disturbed(cell) { "~" } else { "" };
            format!("{value}, {mark}**{}**", number(ratio.median))
        }
        _ => value,
    }
}

fn cell_text(text: &str) -> String {
    text.replace('|', "\\|")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::super::suites::SUITES;
    use super::*;

    #[test]
    fn a_row_that_is_behind_has_its_note_or_says_that_it_has_none() {
        let none = render(&sample(), &BTreeMap::new());
        assert!(
            none.contains("**sched: echo** (Go 0.50): not explained yet"),
            "{none}"
        );
        assert!(!none.contains("**sched: spawn"));
        let notes = read_notes("# Notes\n\n## sched: echo\n\nIts poller\nis slow.\n");
        let some = render(&sample(), &notes);
        assert!(some.contains("(Go 0.50): Its poller\n  is slow."), "{some}");
    }

    #[test]
    fn every_note_is_about_a_row_or_a_group() {
        let text = std::fs::read_to_string(sources().join("notes.md")).unwrap();
        let notes = read_notes(&text);
        assert!(!notes.is_empty());
        let known: Vec<String> = SUITES
            .iter()
            .flat_map(|suite| suite.rows.iter().map(move |row| (suite.name, row)))
            .flat_map(|(suite, row)| [row.title(), row.group.to_owned()].map(|of| (suite, of)))
            .map(|(suite, of)| format!("{suite}: {of}"))
            .collect();
        for heading in notes.keys() {
            assert!(known.contains(heading), "there is no {heading}");
        }
    }

    #[test]
    fn rows_of_a_group_without_notes_have_that_of_the_group() {
        let mut results = sample();
        let row = &mut results.suites[0].rows[1];
        (row.group, row.name) = ("rates".to_owned(), "echo, rates".to_owned());
        let page = render(&results, &read_notes("\n## sched: rates\n\nSlow.\n"));
        for part in [
            "**sched: echo, rates** (Go 0.50): Slow.",
            "| rates | goruntime |",
            "| echo |",
            "- *rates*: Requests",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
    }

    #[test]
    fn the_page_has_figures_ratios_and_failures() {
        let page = render(&sample(), &BTreeMap::new());
        for part in [
            "| spawn & join | 110 ns ±5 % | 220 ns ±5 %, **2.00** | failed: out of \\| memory |",
            "**1.00** of 2",
            "| Go | 1.27.3 |",
            "left out: no compiler",
            "The machine ran at 80 % of the best speed that was read, and at 70 to 95 % in eight of ten readings; that",
            "| ~100.0k 1/s ±0 %, ~**0.50** |",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
    }
}
