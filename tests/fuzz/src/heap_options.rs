//! `GOMEM_OPTIONS`: every entry is either understood as a plain reading says, or complained of, and none changes another.

use gomem::fuzzing::heap_options;
use std::collections::HashMap;

const SWITCHES: [&str; 5] = [
    "background",
    "hardened",
    "huge_pages",
    "stats_at_exit",
    "leaks_at_exit",
];
const PATHS: [&str; 2] = ["report", "profile_at_exit"];

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut complaints = Vec::new();
    let options = heap_options(text.as_bytes(), |complaint| complaints.push(complaint.key));

    let mut known: HashMap<&str, &str> = HashMap::new();
    let mut wrong = Vec::new();
    let trim = |text| str::trim_matches(text, |c: char| c.is_ascii_whitespace());
    for entry in text.split(',').map(trim).filter(|entry| !entry.is_empty()) {
        // A switch alone is on.
        let alone = if SWITCHES.contains(&entry) { "1" } else { "" };
        let (key, value) = entry.split_once('=').unwrap_or((entry, alone));
        let (key, value) = (trim(key), trim(value));
        let is_right = if SWITCHES.contains(&key) {
            value == "0" || value == "1"
        } else if PATHS.contains(&key) {
            !value.is_empty() && value.len() < 1024 && !value.contains('\0')
        } else {
            key == "profile" && plain_rate(value).is_some()
        };
        if is_right {
            known.insert(key, value);
        } else {
            wrong.push(key.as_bytes());
        }
    }
    assert_eq!(complaints, wrong);
    let switch = |name: &str| known.get(name).map(|&value| value == "1");
    assert_eq!(options.background, switch("background").unwrap_or(true));
    assert_eq!(options.hardened, switch("hardened").unwrap_or(false));
    assert_eq!(options.huge_pages, switch("huge_pages").unwrap_or(false));
    assert_eq!(
        options.stats_at_exit,
        switch("stats_at_exit").unwrap_or(false)
    );
    assert_eq!(
        options.leaks_at_exit,
        switch("leaks_at_exit").unwrap_or(false)
    );
    let path = |name: &str| known.get(name).map(|value| value.as_bytes());
    assert_eq!(options.report, path("report"));
    assert_eq!(options.profile_at_exit, path("profile_at_exit"));
    let default = if path("profile_at_exit").is_some() {
        512 << 10
    } else {
        0
    };
    let rate = known.get("profile").map(|value| plain_rate(value));
    assert_eq!(options.profile, rate.flatten().unwrap_or(default));
}

fn plain_rate(text: &str) -> Option<u64> {
    if text == "on" {
        return Some(512 << 10);
    }
    let unit = text.chars().last()?.to_ascii_lowercase();
    let shift = "kmgt".find(unit).map_or(0, |at| 10 * (at as u32 + 1));
    let digits = if shift == 0 {
        text
    } else {
        &text[..text.len() - 1]
    };
    if digits.starts_with('+') || digits.len() > 15 {
        return None;
    }
    let bytes = digits.parse::<u128>().ok()? << shift;
    (bytes <= 1 << 40).then_some(bytes as u64)
}
