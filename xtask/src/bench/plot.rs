//! The ratios of a suite as a picture: a line a row, a mark a peer, on a logarithmic axis with a line at 1.

use super::results::{Results, SuiteResults};
use super::table::number;
use crate::svg::{Anchor, COLOURS, Svg, escape};
use std::fmt::Write;

const LINE: f64 = 26.0;
const LEFT: f64 = 290.0;
const WIDTH: f64 = 560.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 64.0;

/// The picture; `None` where there is nothing to compare.
pub fn render(results: &Results, suite: &SuiteResults) -> Option<String> {
    let peers: Vec<&str> = suite
        .contestants()
        .into_iter()
        .filter(|id| {
            let groups = suite.groups();
            groups
                .iter()
                .any(|group| suite.mean_ratio(id, group).is_some())
        })
        .collect();
    let ratios = || {
        suite
            .rows
            .iter()
            .flat_map(|row| row.peers().iter().filter_map(|cell| row.ratio(cell)))
    };
    let (mut low, mut high) = (0.5f64, 2.0f64);
    for ratio in ratios() {
        low = low.min(ratio.low / 1.1);
        high = high.max(ratio.high * 1.1);
    }
    if peers.is_empty() {
        return None;
    }
    let x = |ratio: f64| LEFT + WIDTH * (ratio / low).ln() / (high / low).ln();
    let bottom = TOP + LINE * suite.rows.len() as f64;
    let title = format!("{}: {}", suite.name, suite.help);
    let mut svg = Svg::new(LEFT + WIDTH + RIGHT, bottom + 44.0, &title);
    svg.legend(LEFT, peers.iter().map(|peer| results.title(peer)));
    for tick in ticks(low, high) {
        let class = if tick == 1.0 { "one" } else { "grid" };
        svg.line(class, (x(tick), TOP - 8.0), (x(tick), bottom));
        svg.text(x(tick), TOP - 14.0, Anchor::Middle, &label(tick));
    }
    for (row, line) in suite.rows.iter().zip(0..) {
        let y = TOP + LINE * (f64::from(line) + 0.5);
        svg.text(LEFT - 12.0, y + 4.0, Anchor::End, &row.name);
        svg.line("grid", (LEFT, y), (LEFT + WIDTH, y));
        for cell in row.peers() {
            let place = peers.iter().position(|peer| *peer == cell.contestant);
            let (Some(ratio), Some(place)) = (row.ratio(cell), place) else {
                continue;
            };
            let colour = COLOURS[place % COLOURS.len()];
            svg.put(&format!(
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"3\" stroke-opacity=\".5\"/>",
                x(ratio.low),
                x(ratio.high)
            ));
            let mut mark = format!(
                "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\">",
                x(ratio.median)
            );
            let _ = write!(
                mark,
                "<title>{}, {}: {} times</title></circle>",
                escape(&row.name),
                escape(results.title(&cell.contestant)),
                number(ratio.median)
            );
            svg.put(&mark);
        }
    }
    svg.text(
        LEFT + WIDTH / 2.0,
        bottom + 26.0,
        Anchor::Middle,
        "how many times as good ours is: right of 1 ours is ahead",
    );
    Some(svg.finish())
}

/// Powers of ten and, where the axis is short, what lies between them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let steps: &[f64] = if high / low > 200.0 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all =
        exponents.flat_map(|exponent| steps.iter().map(move |step| step * 10f64.powi(exponent)));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

fn label(tick: f64) -> String {
    if tick >= 1.0 {
        format!("{tick:.0}")
    } else {
        format!("{tick}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(0.5, 2.0), [0.5, 1.0, 2.0]);
        assert_eq!(ticks(0.01, 100.0), [0.01, 0.1, 1.0, 10.0, 100.0]);
    }

    #[test]
    fn a_picture_has_a_mark_for_each_ratio() {
        let results = sample();
        let svg = render(&results, &results.suites[0]).unwrap();
        assert_eq!(svg.matches("times</title>").count(), 2);
        assert!(svg.contains("spawn &amp; join"));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn without_peers_there_is_no_picture() {
        let mut results = sample();
        results.suites[0]
            .rows
            .iter_mut()
            .for_each(|row| row.cells.truncate(1));
        assert_eq!(render(&results, &results.suites[0]), None);
    }
}
