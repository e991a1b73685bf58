//! What the machine is that something was measured on.

use super::prepare;
use std::path::Path;

/// A description, by what it is of.
pub type Description = Vec<(String, String)>;

/// Describes this machine. What it does not tell is left out.
pub fn describe() -> Description {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let cpu = read("/proc/cpuinfo").and_then(|text| field(&text, "model name", ':'));
    let cores = std::thread::available_parallelism().ok();
    let memory = read("/proc/meminfo")
        .and_then(|text| field(&text, "MemTotal", ':'))
        .and_then(|text| text.strip_suffix(" kB")?.parse::<f64>().ok());
    let huge = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let huge = huge.and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned()));
    [
        ("processor", cpu),
        ("processors that may be used", cores.map(|n| n.to_string())),
        (
            "memory",
            memory.map(|kb| format!("{:.0} GiB", kb / 1048576.0)),
        ),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        ),
        ("transparent huge pages", huge),
        (
            "C library",
            Some(format!("glibc {}", prepare::libc_version())),
        ),
        ("Rust", prepare::say_of(Path::new("rustc"), &["--version"])),
        (
            "C compiler",
            prepare::say_of(Path::new("cc"), &["--version"])
                .and_then(|t| t.lines().next().map(str::to_owned)),
        ),
    ]
    .into_iter()
    .filter_map(|(what, text)| Some((what.to_owned(), text?)))
    .collect()
}

/// The value of the first line `name<separator>value`.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// Today, as `year-month-day`.
pub fn today() -> String {
    prepare::say_of(Path::new("date"), &["-u", "+%F"])
        .unwrap_or_else(|| "an unknown day".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let text = "a\t: 1\nmodel name\t: Some CPU @ 3: GHz\n";
        assert_eq!(
            field(text, "model name", ':').as_deref(),
            Some("Some CPU @ 3: GHz")
        );
        assert_eq!(field(text, "model", ':'), None);
    }

    #[test]
    fn this_machine_has_processors_and_a_kernel() {
        let description = describe();
        assert!(description.iter().any(|(what, _)| what == "kernel"));
        assert!(
            description
                .iter()
                .any(|(what, _)| what.starts_with("processors"))
        );
    }
}
