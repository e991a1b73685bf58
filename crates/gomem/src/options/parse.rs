//! `GOMEM_OPTIONS` as text: a list of `key=value`, with commas between.
//!
//! Invariant: a pure function of its bytes that does not allocate, since it runs before `main`. What is not understood is complained of and left out; it
//! changes nothing about the rest.

/// What the text says. Paths are parts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// A helper thread may be started.
    pub background: bool,
    /// The heap is hardened.
    pub hardened: bool,
    /// Huge pages are asked for in all of the heap.
    pub huge_pages: bool,
    /// The table of size classes is written when the process exits.
    pub stats_at_exit: bool,
    /// What is still allocated is written when the process exits.
    pub leaks_at_exit: bool,
    /// Where these go, instead of standard error.
    pub report: Option<&'a [u8]>,
    /// Mean bytes between samples of the heap profile; zero for no profile.
    pub profile: u64,
    /// Where the profile is written when the process exits.
    pub profile_at_exit: Option<&'a [u8]>,
}

/// Mean bytes between samples for `profile=on`, and where a profile is asked for without a rate. It is Go's `MemProfileRate`.
pub const DEFAULT_RATE: u64 = 512 << 10;

/// The longest path, a zero after it included.
pub const PATH_MAX: usize = 1024;

/// An entry that was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint<'a> {
    /// The entry's key, or all of it if it has none.
    pub key: &'a [u8],
    /// What would be.
    pub allowed: &'static str,
}

const KEYS: &str = "keys are background, hardened, huge_pages, stats_at_exit, leaks_at_exit, report, profile, profile_at_exit";
const SWITCH: &str = "the value is 0 or 1, or none, which is 1";
const PATH: &str = "the value is the path of a file, of less than 1024 bytes";
const RATE: &str =
    "the value is 0, on, or a number of bytes from 1 to 1t, with k, m, g or t after it or not";

/// Reads the text. Of a key that is given twice the last value counts.
pub fn parse<'a>(text: &'a [u8], mut complain: impl FnMut(Complaint<'a>)) -> Options<'a> {
    let mut options = Options {
        background: true,
        hardened: false,
        huge_pages: false,
        stats_at_exit: false,
        leaks_at_exit: false,
        report: None,
        profile: 0,
        profile_at_exit: None,
    };
    let mut has_rate = false;
    for entry in text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if entry.is_empty() {
            continue;
        }
        let equals = entry.iter().position(|&byte| byte == b'=');
        let (key, value) = match equals {
            Some(at) => (entry[..at].trim_ascii(), entry[at + 1..].trim_ascii()),
            None => (entry, switched_on(entry)),
        };
        let understood = match key {
            b"background" => set(&mut options.background, switch(value)),
            b"hardened" => set(&mut options.hardened, switch(value)),
            b"huge_pages" => set(&mut options.huge_pages, switch(value)),
            b"stats_at_exit" => set(&mut options.stats_at_exit, switch(value)),
            b"leaks_at_exit" => set(&mut options.leaks_at_exit, switch(value)),
            b"report" => set(&mut options.report, path(value).map(Some)),
            b"profile_at_exit" => set(&mut options.profile_at_exit, path(value).map(Some)),
            b"profile" => {
                let rate = rate(value);
                has_rate |= rate.is_some();
                set(&mut options.profile, rate)
            }
            _ => Err(()),
        };
        if understood.is_err() {
            let allowed = match key {
                _ if is_switch(key) => SWITCH,
                b"report" | b"profile_at_exit" => PATH,
                b"profile" => RATE,
                _ => KEYS,
            };
            complain(Complaint { key, allowed });
        }
    }
    if options.profile_at_exit.is_some() && !has_rate {
        options.profile = DEFAULT_RATE;
    }
    options
}

fn set<T>(option: &mut T, value: Option<T>) -> Result<(), ()> {
    *option = value.ok_or(())?;
    Ok(())
}

fn is_switch(key: &[u8]) -> bool {
    let switches: [&[u8]; 5] = [
        b"background",
        b"hardened",
        b"huge_pages",
        b"stats_at_exit",
        b"leaks_at_exit",
    ];
    switches.contains(&key)
}

/// The value of a key without one.
fn switched_on(key: &[u8]) -> &'static [u8] {
    if is_switch(key) { b"1" } else { b"" }
}

fn switch(value: &[u8]) -> Option<bool> {
    match value {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

fn path(value: &[u8]) -> Option<&[u8]> {
    let fits = !value.is_empty() && value.len() < PATH_MAX && !value.contains(&0);
    fits.then_some(value)
}

fn rate(value: &[u8]) -> Option<u64> {
    if value == b"on" {
        return Some(DEFAULT_RATE);
    }
    let (digits, shift) = match value.split_last()? {
        (b'k' | b'K', digits) => (digits, 10),
        (b'm' | b'M', digits) => (digits, 20),
        (b'g' | b'G', digits) => (digits, 30),
        (b't' | b'T', digits) => (digits, 40),
        _ => (value, 0),
    };
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    let bytes = number.checked_shl(shift)?;
    (bytes >> shift == number && bytes <= 1 << 40).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quietly(text: &str) -> Options<'_> {
        parse(text.as_bytes(), |complaint| panic!("{complaint:?}"))
    }

    fn complaints(text: &str) -> Vec<(&str, &'static str)> {
        let mut found = Vec::new();
        parse(text.as_bytes(), |complaint| {
            found.push((
                std::str::from_utf8(complaint.key).unwrap(),
                complaint.allowed,
            ));
        });
        found
    }

    #[test]
    fn nothing_is_the_default() {
        let options = quietly(" ,, ");
        assert!(options.background && !options.huge_pages && !options.stats_at_exit);
        assert_eq!((options.profile, options.report), (0, None));
    }

    #[test]
    fn every_key() {
        let options = quietly(
            "background=0, huge_pages=1,stats_at_exit=1,leaks_at_exit=1,report=/a=b,profile=64k,profile_at_exit=x",
        );
        assert!(!options.background && options.huge_pages);
        assert!(options.stats_at_exit && options.leaks_at_exit);
        assert_eq!(options.report, Some(&b"/a=b"[..]));
        assert_eq!(options.profile, 64 << 10);
        assert_eq!(options.profile_at_exit, Some(&b"x"[..]));
    }

    #[test]
    fn a_switch_alone_is_on() {
        let options = quietly("hardened,stats_at_exit");
        assert!(options.hardened && options.stats_at_exit && !options.huge_pages);
        assert!(!quietly("hardened,hardened=0").hardened);
    }

    #[test]
    fn a_profile_has_a_rate() {
        assert_eq!(quietly("profile=on").profile, DEFAULT_RATE);
        assert_eq!(quietly("profile_at_exit=x").profile, DEFAULT_RATE);
        assert_eq!(quietly("profile=1,profile_at_exit=x").profile, 1);
        assert_eq!(quietly("profile_at_exit=x,profile=0").profile, 0);
        assert_eq!(quietly("profile=1t").profile, 1 << 40);
    }

    #[test]
    fn what_is_wrong_is_named_and_the_rest_counts() {
        assert_eq!(complaints("backgrund=0"), [("backgrund", KEYS)]);
        assert_eq!(complaints("huge_pages="), [("huge_pages", SWITCH)]);
        assert_eq!(complaints("report"), [("report", PATH)]);
        assert_eq!(complaints("report="), [("report", PATH)]);
        for rate in ["", "k", "-1", "1.5k", "2t", "99999999999999999999", "1kk"] {
            assert_eq!(
                complaints(&format!("profile={rate}")),
                [("profile", RATE)],
                "{rate}"
            );
        }
        let mut wrong = 0;
        let options = parse(b"background=off,huge_pages=1", |_| wrong += 1);
        assert_eq!(
            (wrong, options.huge_pages, options.background),
            (1, true, true)
        );
    }

    proptest! {
        /// An entry changes what it is about and nothing else, whatever stands around it.
        #[test]
        fn entries_are_independent(around in "[a-z=0-9 ]{0,20}", huge in any::<bool>(), rate in 0u64..1 << 40) {
            prop_assume!(!["huge_pages", "profile"].iter().any(|key| around.contains(key)));
            let text = format!("{around},huge_pages={},profile={rate},{around}", u8::from(huge));
            let options = parse(text.as_bytes(), |_| {});
            prop_assert_eq!(options.huge_pages, huge);
            prop_assert_eq!(options.profile, rate);
        }

        #[test]
        fn any_bytes_are_read(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let options = parse(&text, |complaint| assert!(!complaint.allowed.is_empty()));
            prop_assert!(options.profile <= 1 << 40);
        }
    }
}
