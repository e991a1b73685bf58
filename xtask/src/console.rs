//! What this tool shows: rows of styled text, and a region of the terminal that is redrawn in place.
//!
//! Rows are cut to the width of the terminal before they are painted, because a row that wraps would make the region
//! higher than the rows that the next redraw goes back over. Where the output is no terminal there are no colours and
//! no region; callers print plain lines instead.

use std::io::{self, IsTerminal, Write};

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As the terminal has it.
    Plain,
    /// Labels and explanations.
    Dim,
    /// What the eye should find.
    Bold,
    /// A good outcome.
    Good,
    /// A bad outcome.
    Bad,
    /// Graphs.
    Graph,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Dim => "\x1b[2m",
            Style::Bold => "\x1b[1m",
            Style::Good => "\x1b[32m",
            Style::Bad => "\x1b[31m",
            Style::Graph => "\x1b[36m",
        }
    }
}

/// One line of text in pieces of different styles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(Vec<(Style, String)>);

impl Row {
    /// A row without text.
    pub fn new() -> Row {
        Row::default()
    }

    /// The row with more text at its end.
    pub fn with(mut self, style: Style, text: impl Into<String>) -> Row {
        self.0.push((style, text.into()));
        self
    }

    /// The row as it is written: at most `width` characters, with escape codes if there are `colours`.
    pub fn paint(&self, width: usize, colours: bool) -> String {
        let mut painted = String::new();
        let mut left = width;
        for (style, text) in &self.0 {
            let piece: String = text.chars().take(left).collect();
            left -= piece.chars().count();
            if !colours || *style == Style::Plain {
                painted.push_str(&piece);
            } else if !piece.is_empty() {
                painted.extend([style.code(), piece.as_str(), "\x1b[0m"]);
            }
        }
        painted
    }

    /// Prints the row to standard output, in colours where it has them.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print(&self) -> io::Result<()> {
        writeln!(io::stdout(), "{}", self.paint(usize::MAX, has_colours()))
    }
}

/// Is standard output a terminal that understands escape codes?
pub fn is_terminal() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn has_colours() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns and rows of the terminal; 80 by 24 if it does not say.
fn size() -> (usize, usize) {
    // SAFETY: TIOCGWINSZ writes one `winsize`, for which zero is a valid value.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        let said = libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) == 0;
        if said { size } else { std::mem::zeroed() }
    };
    match (size.ws_col, size.ws_row) {
        (0, _) | (_, 0) => (80, 24),
        (columns, rows) => (columns.into(), rows.into()),
    }
}

/// The last rows of the terminal, redrawn in place. The cursor is hidden while this value lives.
pub struct Region {
    drawn: usize,
    colours: bool,
}

impl Region {
    /// Begins a region below what the terminal shows now; `None` where there is no terminal.
    pub fn begin() -> Option<Region> {
        is_terminal().then(|| Region {
            drawn: 0,
            colours: has_colours(),
        })
    }

    /// Shows `rows` in place of those shown before, as many as fit.
    ///
    /// # Errors
    /// When the terminal cannot be written, for instance because it was closed.
    pub fn draw(&mut self, rows: &[Row]) -> io::Result<()> {
        let (columns, lines) = size();
        let rows = &rows[..rows.len().min(lines.saturating_sub(1))];
        // One write per frame, so that no half-drawn frame is seen.
        let mut frame = String::from("\x1b[?25l");
        self.go_back(&mut frame);
        for row in rows {
            // The last column is left free: writing it makes some terminals wrap.
            frame.push_str(&row.paint(columns.saturating_sub(1), self.colours));
            frame.push_str("\x1b[K\n");
        }
        frame.push_str("\x1b[J");
        self.drawn = rows.len();
        write_all(&frame)
    }

    /// Removes what is shown.
    ///
    /// # Errors
    /// As [`Region::draw`].
    pub fn clear(&mut self) -> io::Result<()> {
        let mut frame = String::new();
        self.go_back(&mut frame);
        frame.push_str("\x1b[J\x1b[?25h");
        self.drawn = 0;
        write_all(&frame)
    }

    fn go_back(&self, frame: &mut String) {
        if self.drawn > 0 {
            frame.push_str(&format!("\r\x1b[{}A", self.drawn));
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // A terminal that is gone needs no cursor.
        let _ = write_all("\x1b[?25h");
    }
}

fn write_all(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_by_characters_and_not_by_escape_codes() {
        let row = Row::new()
            .with(Style::Bold, "▁▂▃")
            .with(Style::Plain, "xyz");
        assert_eq!(row.paint(4, false), "▁▂▃x");
        assert_eq!(row.paint(4, true), "\x1b[1m▁▂▃\x1b[0mx");
        assert_eq!(row.paint(2, true), "\x1b[1m▁▂\x1b[0m");
        assert_eq!(row.paint(0, true), "");
    }
}
