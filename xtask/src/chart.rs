//! A chart of lines, by their points.

use crate::svg::{Anchor, COLOURS, Svg};
use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 64.0;

/// A line of so few points has a mark at each.
const MARKED: usize = 24;

/// How an axis runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From zero.
    Linear,
    /// By powers of two.
    Doubling,
    /// By powers of ten.
    Tenfold,
}

impl Scale {
    /// By powers of what, if so.
    fn base(self) -> Option<f64> {
        match self {
            Scale::Linear => None,
            Scale::Doubling => Some(2.0),
            Scale::Tenfold => Some(10.0),
        }
    }
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
        let (low, high) = match scale.base() {
            None => (0.0, high * 1.05),
            Some(base) => (
                base.powf(lowest.max(1e-3).log(base).floor()),
                base.powf(high.max(1e-3).log(base).ceil()),
            ),
        };
        Axis { low, high, scale }
    }

    fn part(&self, value: f64) -> f64 {
        match self.scale.base() {
            None => value / self.high,
            Some(base) => {
                let all = (self.high / self.low).log(base).max(1.0);
                (value.max(self.low) / self.low).log(base) / all
            }
        }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale.base() {
            None => {
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
            Some(base) => {
                let power = |value: f64| value.log(base).round() as i32;
                let (low, high) = (power(self.low), power(self.high));
                let step = ((high - low) / 6).max(1) as usize;
                (low..=high).step_by(step).map(|n| base.powi(n)).collect()
            }
        }
    }

    /// A number as people write it on such an axis: 1024 as 1Ki, a thousand as 1,000.
    fn label(&self, value: f64) -> String {
        const KI: f64 = 1024.0;
        let whole = |value: f64| value >= 1.0 && value.fract() == 0.0;
        let is_doubling = self.scale == Scale::Doubling;
        match value {
            v if is_doubling && whole(v / KI / KI) => format!("{}Mi", v / KI / KI),
            v if is_doubling && whole(v / KI) => format!("{}Ki", v / KI),
            v if whole(v / 1000.0) => format!("{},000", v / 1000.0),
            v => format!("{}", (v * 1000.0).round() / 1000.0),
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
    let (right, bottom) = (LEFT + WIDTH, TOP + HEIGHT);
    let mut svg = Svg::new(right + 30.0, bottom + 50.0, frame.title);
    for tick in x.ticks() {
        let at = across(tick);
        svg.line("grid", (at, TOP), (at, bottom));
        svg.text(at, bottom + 18.0, Anchor::Middle, &x.label(tick));
    }
    for tick in y.ticks() {
        let at = up(tick);
        svg.line("grid", (LEFT, at), (right, at));
        svg.text(LEFT - 8.0, at + 4.0, Anchor::End, &y.label(tick));
    }
    let middle = LEFT + WIDTH / 2.0;
    svg.text(middle, bottom + 40.0, Anchor::Middle, frame.x.0);
    svg.text(LEFT - 60.0, TOP - 14.0, Anchor::Start, frame.y.0);
    svg.legend(LEFT, series.iter().map(|line| line.name.as_str()));
    for (line, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let mut path = String::new();
        for (n, (px, py)) in line.points.iter().enumerate() {
            let step = if n == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", across(*px), up(*py));
        }
        svg.put(&format!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ));
        if line.points.len() <= MARKED {
            for (px, py) in &line.points {
                svg.put(&format!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                    across(*px),
                    up(*py)
                ));
            }
        }
    }
    svg.finish()
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
        assert_eq!(ticks(900.0, Scale::Tenfold), [1.0, 10.0, 100.0, 1000.0]);
        let label = |value, scale| Axis::of([1.0].into_iter(), scale).label(value);
        assert_eq!(label(2048.0, Scale::Doubling), "2Ki");
        assert_eq!(label(20_000.0, Scale::Tenfold), "20,000");
    }
}
