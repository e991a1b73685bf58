//! What this tool's pictures are made of: an SVG without scripts or outside assets, readable on light and on dark ground.
//!
//! Invariant: what is drawn from the same figures is the same to the byte, so that a picture in the tree can be compared with what would be drawn now.

/// Colours that are told apart by most eyes and on both grounds (after Okabe and Ito).
pub const COLOURS: &[&str] = &[
    "#0083c9", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#7f7fd5",
];

const STYLE: &str = "<style>text{fill:#333}.grid{stroke:#888;stroke-opacity:.27}.one{stroke:#888;stroke-width:2}.box{fill:#888;fill-opacity:.1;stroke:#888}.edge{stroke:#888;fill:none}\
    .tip{fill:#888}@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>";

/// Where a text stands at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

/// A picture that is being drawn.
pub struct Svg(String);

impl Svg {
    /// An empty picture of this size.
    pub fn new(width: f64, height: f64, title: &str) -> Svg {
        let mut svg = Svg(String::new());
        svg.put(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"13\">"
        ));
        svg.put(STYLE);
        svg.put(&format!("<title>{}</title>", escape(title)));
        svg
    }

    /// Adds an element, or some.
    pub fn put(&mut self, element: &str) {
        self.0.extend([element, "\n"]);
    }

    /// Writes at a place.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        self.put(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\"{anchor}>{}</text>",
            escape(text)
        ));
    }

    /// A straight line of a class of the style.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.put(&format!(
            "<line class=\"{class}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, to.0, from.1, to.1
        ));
    }

    /// Which colour is what, in one row from `left` on.
    pub fn legend<'a>(&mut self, left: f64, names: impl IntoIterator<Item = &'a str>) {
        let mut at = left;
        for (name, colour) in names.into_iter().zip(COLOURS.iter().cycle()) {
            self.put(&format!(
                "<circle cx=\"{at:.1}\" cy=\"20\" r=\"5\" fill=\"{colour}\"/>"
            ));
            self.text(at + 9.0, 24.0, Anchor::Start, name);
            at += 30.0 + 7.5 * name.chars().count() as f64;
        }
    }

    /// The picture.
    pub fn finish(mut self) -> String {
        self.put("</svg>");
        self.0
    }
}

/// The text as it may stand in an element.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_cannot_end_the_element() {
        let mut svg = Svg::new(10.0, 10.0, "a < b");
        svg.text(1.0, 2.0, Anchor::End, "spawn & join");
        let svg = svg.finish();
        assert!(svg.contains("a &lt; b") && svg.contains("spawn &amp; join"));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_legend_has_a_mark_for_each_name() {
        let mut svg = Svg::new(10.0, 10.0, "t");
        svg.legend(0.0, ["one", "two", "three"]);
        assert_eq!(svg.finish().matches("<circle").count(), 3);
    }
}
