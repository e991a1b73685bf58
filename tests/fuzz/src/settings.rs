//! The environment variables: what is understood means what a plain reading says, and what is not is named.

use gogc::GcPercent;
use goruntime::fuzzing::Settings;

const NAMES: [&str; 4] = ["GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG"];

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let values: Vec<&str> = text.split('\0').collect();
    let value = |name: &str| {
        let index = NAMES.iter().position(|&known| known == name)?;
        values.get(index).copied()
    };
    let mut complaints = Vec::new();
    let get = |name: &str| value(name).map(str::to_owned);
    let settings = Settings::parse(get, |complaint| complaints.push(complaint));
    let given = |name: &str| value(name).map(str::trim).filter(|value| !value.is_empty());
    let limit = given("GOMEMLIMIT").filter(|&text| text != "off");
    let expected = limit.and_then(plain_size);
    // A limit that is none keeps the program from starting.
    assert_eq!(settings.is_err(), limit.is_some() && expected.is_none());
    let Ok(settings) = settings else { return };
    assert_eq!(
        settings
            .collector
            .memory_limit
            .map(|bytes| u128::from(bytes.0)),
        expected
    );
    let complains_of = |name: &str| complaints.iter().any(|text| text.starts_with(name));

    match given("GOGC") {
        None => assert_eq!(settings.collector.percent, GcPercent::default()),
        Some(text) => {
            let percent = GcPercent::parse(text);
            assert_eq!(complains_of("GOGC"), percent.is_none());
            assert_eq!(settings.collector.percent, percent.unwrap_or_default());
        }
    }
    let procs = given("GOMAXPROCS").map(|text| text.parse::<usize>());
    match procs {
        Some(Ok(n @ 1..)) => assert_eq!(settings.procs, Some(n)),
        other => {
            assert_eq!(settings.procs, None);
            assert_eq!(complains_of("GOMAXPROCS"), other.is_some());
        }
    }
    if let Some(period) = settings.sched_trace {
        assert!(u64::try_from(period.as_nanos()).is_ok() && !period.is_zero());
    }
}

/// A size in Go's notation, read digit by digit; `None` for what is none or does not fit.
fn plain_size(text: &str) -> Option<u128> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    // Zeros in front are of no account; more digits than these are more than any size.
    let significant = number.trim_start_matches('0');
    if number.is_empty() || significant.len() > 20 {
        return None;
    }
    let value = significant
        .bytes()
        .fold(0u128, |value, digit| value * 10 + u128::from(digit - b'0'));
    let size = value << scale;
    (value <= u64::MAX.into() && size <= u64::MAX.into()).then_some(size)
}
