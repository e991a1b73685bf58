//! A chart of lines: an SVG without scripts or outside assets, readable on light and on dark ground.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 64.0;

/// Colours that are told apart by most eyes and on both grounds (after Okabe and Ito).
const COLOURS: &[&str] = &["#d55e00", "#0083c9", "#009e73", "#cc79a7", "#b58900"];

/// How an axis runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From zero.
    Linear,
    /// By powers of two.
    Doubling,
}

/// What a chart says besides its points.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// What is shown.
    pub title: &'static str,
    /// The axis to the right: what it is, and how it runs.
    pub x: (&'static str, Scale),
    /// The axis upwards.
    pub y: (&'static str, Scale),
}

/// A line, by its points from left to right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// An axis: its ends, and where a value lies on it as a part of its length.
struct Axis {
    low: f64,
    high: f64,
    scale: Scale,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64> + Clone, scale: Scale) -> Axis {
        let high = values.clone().fold(f64::MIN_POSITIVE, f64::max);
        let lowest = values.fold(f64::INFINITY, f64::min);
        match scale {
            Scale::Linear => Axis {
                low: 0.0,
                high: high * 1.05,
                scale,
            },
            Scale::Doubling => Axis {
                low: 2f64.powf(lowest.max(1e-3).log2().floor()),
                high: 2f64.powf(high.max(1e-3).log2().ceil()),
                scale,
            },
        }
    }

    fn part(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value / self.high,
            Scale::Doubling => {
                let all = (self.high / self.low).log2().max(1.0);
                (value.max(self.low) / self.low).log2() / all
            }
        }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = self.high / 5.0;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0]
                    .map(|factor| factor * power)
                    .into_iter()
                    .find(|step| *step >= rough)
                    .unwrap_or(rough);
                let count = (self.high / step) as u32;
                (0..=count).map(|n| f64::from(n) * step).collect()
            }
            Scale::Doubling => {
                let (low, high) = (self.low.log2() as i32, self.high.log2() as i32);
                let step = ((high - low) / 6).max(1) as usize;
                (low..=high).step_by(step).map(|n| 2f64.powi(n)).collect()
            }
        }
    }
}

/// Draws it.
pub fn render(frame: &Frame, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|line| line.points.iter());
    let x = Axis::of(points().map(|point| point.0), frame.x.1);
    let y = Axis::of(points().map(|point| point.1), frame.y.1);
    let across = |value: f64| LEFT + WIDTH * x.part(value);
    let up = |value: f64| TOP + HEIGHT * (1.0 - y.part(value));
    let bottom = TOP + HEIGHT;
    let mut svg = String::new();
    let mut put = |text: String| svg.extend([text.as_str(), "\n"]);
    put(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" font-family=\"sans-serif\" font-size=\"13\">",
        LEFT + WIDTH + 30.0,
        bottom + 50.0
    ));
    put("<style>text{fill:#333}.grid{stroke:#8884}@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>".to_owned());
    put(format!("<title>{}</title>", frame.title));
    for tick in x.ticks() {
        put(format!(
            "<line class=\"grid\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/><text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\">{2}</text>",
            across(tick),
            bottom + 18.0,
            label(tick)
        ));
    }
    for tick in y.ticks() {
        put(format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/><text x=\"{2:.1}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
            LEFT + WIDTH,
            up(tick),
            LEFT - 8.0,
            up(tick) + 4.0,
            label(tick)
        ));
    }
    put(format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        LEFT + WIDTH / 2.0,
        bottom + 40.0,
        frame.x.0
    ));
    put(format!(
        "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        LEFT - 60.0,
        TOP - 14.0,
        frame.y.0
    ));
    let mut at = LEFT;
    for (line, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let mut path = String::new();
        for (n, (px, py)) in line.points.iter().enumerate() {
            let step = if n == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", across(*px), up(*py));
        }
        put(format!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ));
        put(format!(
            "<circle cx=\"{at:.1}\" cy=\"20\" r=\"5\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"24\">{}</text>",
            at + 9.0,
            line.name
        ));
        at += 28.0 + 7.0 * line.name.chars().count() as f64;
    }
    put("</svg>".to_owned());
    svg
}

/// A number as people write it: 1024 as 1Ki.
fn label(value: f64) -> String {
    const KI: f64 = 1024.0;
    let whole = |value: f64| value >= 1.0 && value.fract() == 0.0;
    match value {
        v if v >= KI * KI && whole(v / KI / KI) => format!("{}Mi", v / KI / KI),
        v if v >= KI && whole(v / KI) => format!("{}Ki", v / KI),
        v => format!("{}", (v * 1000.0).round() / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_path_for_each_line_inside_its_frame() {
        let frame = Frame {
            title: "a title",
            x: ("depth", Scale::Doubling),
            y: ("ns", Scale::Linear),
        };
        let line = |name: &str, factor: f64| Series {
            name: name.to_owned(),
            points: (0..10)
                .map(|n| (2f64.powi(n), factor * f64::from(n)))
                .collect(),
        };
        let svg = render(&frame, &[line("one", 1.0), line("two", 7.0)]);
        assert_eq!(svg.matches("<path").count(), 2);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        // The highest point of the lower line is a seventh of the way up.
        let high = Axis::of([63.0].into_iter(), Scale::Linear);
        assert!((high.part(9.0) - 9.0 / 66.15).abs() < 1e-9);
    }

    #[test]
    fn ticks_are_round() {
        let ticks = |high, scale| Axis::of([1.0, high].into_iter(), scale).ticks();
        assert_eq!(ticks(19.0, Scale::Linear), [0.0, 5.0, 10.0, 15.0]);
        assert_eq!(ticks(8.0, Scale::Doubling), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(label(2048.0), "2Ki");
    }
}
