//! What an experiment says: points, one a line, `plot series x y`; and how they are shown.
//!
//! A hyphen in a series' name stands for a space. Lines that begin with `#` are for people.

use super::table::Plot;
use crate::chart::Series;
use crate::console::{Row, Style};

/// The lines of one plot in the output of an experiment, in the order of their first points.
///
/// # Errors
/// When a line is no point, or there is none of this plot.
pub fn read(output: &str, plot: &str) -> Result<Vec<Series>, String> {
    let mut all: Vec<Series> = Vec::new();
    for line in output.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, series, x, y] = words[..] else {
            return Err(format!("not a point: {line}"));
        };
        if name != plot {
            continue;
        }
        let number = |text: &str| {
            let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
            number.ok_or_else(|| format!("not a number in: {line}"))
        };
        let series = series.replace('-', " ");
        let point = (number(x)?, number(y)?);
        match all.iter_mut().find(|known| known.name == series) {
            Some(known) => known.points.push(point),
            None => all.push(Series {
                name: series,
                points: vec![point],
            }),
        }
    }
    match all.is_empty() {
        true => Err(format!("the measurement says nothing of {plot}")),
        false => Ok(all),
    }
}

/// The points as a table, a row for each place on the axis to the right.
pub fn table(plot: &Plot, series: &[Series]) -> Vec<Row> {
    let mut rows = vec![
        Row::new(),
        Row::new().with(Style::Bold, plot.frame.title),
        Row::new().with(Style::Dim, plot.reading),
    ];
    let width = |line: &Series| line.name.chars().count().max(10) + 2;
    let heads = series
        .iter()
        .map(|line| format!("{:>1$}", line.name, width(line)));
    rows.push(Row::new().with(
        Style::Dim,
        format!("{:>10} {}", "", heads.collect::<String>()),
    ));
    let mut places: Vec<f64> = series
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point.0))
        .collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    for x in places {
        let at = |line: &Series| line.points.iter().find(|point| point.0 == x).copied();
        let values = series.iter().map(|line| {
            let value = at(line).map_or("-".to_owned(), |(_, y)| number(y));
            format!("{value:>0$}", width(line))
        });
        let x = number(x);
        rows.push(Row::new().with(
            Style::Plain,
            format!("{x:>10} {}", values.collect::<String>()),
        ));
    }
    let axes = format!("{:>10} {}; {}", "", plot.frame.x.0, plot.frame.y.0);
    rows.push(Row::new().with(Style::Dim, axes));
    rows
}

/// The points of some plots as JSON: an object with a list of lines for each plot, a line being its name and its points.
pub fn to_json(plots: &[(&str, Vec<Series>)]) -> String {
    let point = |&(x, y): &(f64, f64)| format!("[{x},{y}]");
    let line = |line: &Series| {
        let points: Vec<String> = line.points.iter().map(point).collect();
        format!(
            "{{\"name\":{:?},\"points\":[{}]}}",
            line.name,
            points.join(",")
        )
    };
    let plot = |(name, series): &(&str, Vec<Series>)| {
        let lines: Vec<String> = series.iter().map(line).collect();
        format!("{name:?}: [\n{}\n]", lines.join(",\n"))
    };
    let plots: Vec<String> = plots.iter().map(plot).collect();
    format!("{{\n{}\n}}\n", plots.join(",\n"))
}

/// A number with as many digits as mean something.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        1.0..10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lesson::table::LESSONS;
    use std::collections::HashMap;
    use tinyjson::JsonValue;

    #[test]
    fn points_are_sorted_into_their_lines() {
        let output = "# for people\ngrowth one 1 2.5\ncopying x 1 1\ngrowth two,-again 1 3\ngrowth one 2 4\n";
        let series = read(output, "growth").unwrap();
        assert_eq!(series.len(), 2);
        assert_eq!(series[0].points, [(1.0, 2.5), (2.0, 4.0)]);
        assert_eq!(series[1].name, "two, again");
        assert!(read(output, "shrink").is_err());
        assert!(read("growth one 1\n", "growth").is_err());
        assert!(read("growth one 1 NaN\n", "growth").is_err());
    }

    #[test]
    fn a_table_has_a_row_for_each_place_of_any_line() {
        let series = read("p a 1 2.5\np a 4 3\np b 2 1000.4\n", "p").unwrap();
        let rows = table(&LESSONS[0].plots[0], &series);
        let shown: Vec<String> = rows.iter().map(|row| row.paint(200, false)).collect();
        assert_eq!(shown.len(), 8, "{shown:#?}");
        assert!(shown[5].contains("1000") && shown[5].contains('-'));
    }

    #[test]
    fn json_has_every_point() {
        let series = read("p a 1 2.5\np a 4 3\n", "p").unwrap();
        let json = to_json(&[("p", series.clone()), ("q", series)]);
        let parsed: JsonValue = json.parse().unwrap();
        let plots: &HashMap<String, JsonValue> = parsed.get().unwrap();
        assert_eq!(plots.len(), 2);
        assert!(json.contains("\"points\":[[1,2.5],[4,3]]"), "{json}");
    }
}
