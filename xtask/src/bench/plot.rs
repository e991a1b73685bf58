//! The ratios of a suite as a picture: a line a row, a mark a peer, on a logarithmic axis with a line at 1.
//!
//! An SVG without scripts or outside assets, readable on light and on dark ground.

use super::results::{Results, SuiteResults};
use super::table::number;
use std::fmt::Write;

const LINE: f64 = 26.0;
const LEFT: f64 = 290.0;
const WIDTH: f64 = 560.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 64.0;

/// Colours that are told apart by most eyes and on both grounds (after Okabe and Ito).
const COLOURS: &[&str] = &[
    "#0083c9", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#7f7fd5",
];

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
    let mut svg = String::new();
    let mut put = |text: String| svg.extend([text.as_str(), "\n"]);
    put(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" font-family=\"sans-serif\" font-size=\"13\">",
        LEFT + WIDTH + RIGHT,
        bottom + 44.0
    ));
    put("<style>text{fill:#333}.grid{stroke:#8884}.one{stroke:#888;stroke-width:2}@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>".to_owned());
    put(format!(
        "<title>{}</title>",
        escape(&format!("{}: {}", suite.name, suite.help))
    ));
    let mut at = LEFT;
    for (peer, colour) in peers.iter().zip(COLOURS.iter().cycle()) {
        let title = results.title(peer);
        put(format!(
            "<circle cx=\"{at:.1}\" cy=\"20\" r=\"5\" fill=\"{colour}\"/>"
        ));
        put(format!(
            "<text x=\"{:.1}\" y=\"24\">{}</text>",
            at + 9.0,
            escape(title)
        ));
        at += 30.0 + 7.5 * title.chars().count() as f64;
    }
    for tick in ticks(low, high) {
        let class = if tick == 1.0 { "one" } else { "grid" };
        put(format!(
            "<line class=\"{class}\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{bottom:.1}\"/>",
            x(tick),
            TOP - 8.0
        ));
        put(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(tick),
            TOP - 14.0,
            label(tick)
        ));
    }
    for (row, line) in suite.rows.iter().zip(0..) {
        let y = TOP + LINE * (f64::from(line) + 0.5);
        put(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 12.0,
            y + 4.0,
            escape(&row.name)
        ));
        put(format!(
            "<line class=\"grid\" x1=\"{LEFT:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            LEFT + WIDTH
        ));
        for cell in row.peers() {
            let place = peers.iter().position(|peer| *peer == cell.contestant);
            let (Some(ratio), Some(place)) = (row.ratio(cell), place) else {
                continue;
            };
            let colour = COLOURS[place % COLOURS.len()];
            put(format!(
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
            put(mark);
        }
    }
    put(format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">how many times as good ours is: right of 1 ours is ahead</text>",
        LEFT + WIDTH / 2.0,
        bottom + 26.0
    ));
    put("</svg>".to_owned());
    Some(svg)
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
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
