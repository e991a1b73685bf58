//! A profile as text, in the forms that Go has for `debug=1`.
//!
//! Readers of the older formats subtract one from every address, so what is printed is the address after the call. Values are estimates already, which the
//! header of a heap profile says by its name (`heapprofile`).

use super::Profile;
use crate::goroutines::symbols::Symbols;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

pub(super) fn of(profile: &Profile) -> String {
    let mut text = String::new();
    let written = match profile.kind.name {
        "heap" | "allocs" => heap(profile, &mut text),
        "mutex" | "block" => contention(profile, &mut text),
        "profile" => functions(profile, &mut text),
        _ => counts(profile, &mut text),
    };
    // A string takes everything.
    let _ = written;
    for remark in &profile.remarks {
        let _ = writeln!(text, "# {remark}");
    }
    text
}

type Written = std::fmt::Result;

/// `goroutine profile: total 9`, and for each stack how many there are.
fn counts(profile: &Profile, out: &mut String) -> Written {
    let (name, total) = (profile.kind.name, profile.total()[0]);
    writeln!(out, "{name} profile: total {total}")?;
    let mut stacks: BTreeMap<&[usize], i64> = BTreeMap::new();
    for (key, values) in &profile.samples {
        *stacks.entry(&key.calls).or_default() += values[0];
    }
    let mut stacks: Vec<_> = stacks.into_iter().collect();
    stacks.sort_by_key(|&(_, count)| Reverse(count));
    let mut symbols = Symbols::default();
    for (calls, count) in stacks {
        write!(out, "{count} @")?;
        stack(calls, &mut symbols, out)?;
    }
    Ok(())
}

/// `heap profile: 3: 96 [7: 224] @ heapprofile`, and the same for each place.
fn heap(profile: &Profile, out: &mut String) -> Written {
    let total = profile.total();
    // Readers take equal sums for a profile of two columns.
    let allocated = total[1] + i64::from(total[1] == total[3]);
    writeln!(
        out,
        "heap profile: {}: {} [{}: {allocated}] @ heapprofile",
        total[2], total[3], total[0]
    )?;
    let mut samples: Vec<_> = profile.samples.iter().collect();
    samples.sort_by_key(|(_, values)| Reverse(values[3]));
    let mut symbols = Symbols::default();
    for (key, values) in samples {
        write!(
            out,
            "{}: {} [{}: {}] @",
            values[2], values[3], values[0], values[1]
        )?;
        stack(&key.calls, &mut symbols, out)?;
    }
    let stats = gomem::heap().stats();
    writeln!(out, "\n# runtime.MemStats")?;
    for (name, value) in crate::metrics::mem_stats(&stats) {
        writeln!(out, "# {name} = {value}")?;
    }
    Ok(())
}

/// `--- contention:`, and for each place the time and the number of waits.
fn contention(profile: &Profile, out: &mut String) -> Written {
    let is_mutex = profile.kind.name == "mutex";
    let name = if is_mutex { "mutex" } else { "contention" };
    // A cycle is a nanosecond.
    writeln!(out, "--- {name}:\ncycles/second=1000000000")?;
    if is_mutex {
        writeln!(out, "sampling period={}", profile.period)?;
    }
    let mut samples: Vec<_> = profile.samples.iter().collect();
    samples.sort_by_key(|(_, values)| Reverse(values[1]));
    let mut symbols = Symbols::default();
    for (key, values) in samples {
        write!(out, "{} {} @", values[1], values[0])?;
        stack(&key.calls, &mut symbols, out)?;
    }
    Ok(())
}

/// Functions by the time that was spent in them, and in what they called.
fn functions(profile: &Profile, out: &mut String) -> Written {
    let mut symbols = Symbols::default();
    let mut times: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (key, values) in &profile.samples {
        let mut seen = HashSet::new();
        let mut innermost = true;
        for &address in &key.calls {
            for call in symbols.at(address) {
                let (own, all) = times.entry(call.function.clone()).or_default();
                if std::mem::take(&mut innermost) {
                    *own += values[1];
                }
                if seen.insert(call.function.clone()) {
                    *all += values[1];
                }
            }
        }
    }
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort_by_key(|(_, (own, all))| (Reverse(*own), Reverse(*all)));
    let total = profile.total()[1];
    writeln!(
        out,
        "cpu profile: {:.2} s of processor time in {:.2} s",
        total as f64 / 1e9,
        profile.over.as_secs_f64()
    )?;
    writeln!(
        out,
        "{:>9} {:>6} {:>9} {:>6}  function",
        "own ms", "", "all ms", ""
    )?;
    let percent = |time: i64| 100.0 * time as f64 / total.max(1) as f64;
    for (function, (own, all)) in times {
        writeln!(
            out,
            "{:>9.0} {:>5.1}% {:>9.0} {:>5.1}%  {function}",
            own as f64 / 1e6,
            percent(own),
            all as f64 / 1e6,
            percent(all)
        )?;
    }
    Ok(())
}

/// The addresses, and a line for each call.
fn stack(calls: &[usize], symbols: &mut Symbols, out: &mut String) -> Written {
    for call in calls {
        write!(out, " {:#x}", call + 1)?;
    }
    out.push('\n');
    for &address in calls {
        for call in symbols.at(address) {
            write!(out, "#\t{:#x}\t{}", address + 1, call.function)?;
            write!(out, "+{:#x}", call.within.map_or(0, |within| within + 1))?;
            match &call.place {
                Some((file, line)) => writeln!(out, "\t{file}:{line}")?,
                None => out.push('\n'),
            }
        }
    }
    out.push('\n');
    Ok(())
}
