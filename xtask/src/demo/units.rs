//! Numbers as people read them.

use std::time::Duration;

/// `1,234,567`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `34.2 MiB`
pub fn bytes(number: u64) -> String {
    let mut amount = number as f64;
    for unit in ["B", "KiB", "MiB"] {
        if amount < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{amount:.digits$} {unit}");
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} GiB")
}

/// `85 µs`, `1.25 ms`, `2.50 s`
pub fn time(time: Duration) -> String {
    match time.as_micros() {
        micros if micros < 1000 => format!("{micros} µs"),
        micros if micros < 1_000_000 => format!("{:.2} ms", micros as f64 / 1e3),
        micros => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// The text, or `?` for what is unknown.
pub fn known<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "?".to_owned(), text)
}

/// The last `width` of `values` as bars of eight heights, the greatest of them at full height.
pub fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(width)..];
    let greatest = shown.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| match greatest {
        0.0 => BARS[0],
        greatest => BARS[((value / greatest * 7.0).round() as usize).min(7)],
    };
    shown.iter().map(bar).collect()
}

/// `part` of `whole` as a bar of `width` characters, filled and empty.
pub fn bar(part: u64, whole: u64, width: usize) -> (String, String) {
    let share = match whole {
        0 => 0.0,
        whole => (part as f64 / whole as f64).min(1.0),
    };
    let filled = (share * width as f64).round() as usize;
    ("█".repeat(filled), "░".repeat(width - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(bytes(5 << 40), "5120.0 GiB");
        assert_eq!(time(Duration::from_micros(85)), "85 µs");
        assert_eq!(time(Duration::from_micros(1250)), "1.25 ms");
        assert_eq!(time(Duration::from_millis(2500)), "2.50 s");
        assert_eq!(known(None, count), "?");
        assert_eq!(known(Some(1000), count), "1,000");
    }

    #[test]
    fn graphs() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0], 10), "▁▅█");
        assert_eq!(sparkline(&[9.0, 0.0, 7.0], 2), "▁█");
        assert_eq!(sparkline(&[0.0, 0.0], 2), "▁▁");
        assert_eq!(sparkline(&[], 4), "");
        assert_eq!(bar(1, 2, 4), ("██".to_owned(), "░░".to_owned()));
        assert_eq!(bar(9, 2, 2), ("██".to_owned(), String::new()));
        assert_eq!(bar(0, 0, 2), (String::new(), "░░".to_owned()));
    }
}
