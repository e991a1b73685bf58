//! A profile in the format of `pprof`, with the names of everything.
//!
//! gomem writes the format; here are the names, and the compression that readers expect.

use super::{Profile, Value};
use crate::goroutines::symbols::{Call, Symbols};
use flate2::Compression;
use flate2::write::GzEncoder;
use gomem::profile::pprof::{Label, Line, Writer};
use std::io;

pub(super) fn write(profile: &Profile, out: &mut impl io::Write) -> io::Result<()> {
    let kind = profile.kind;
    let mut writer = Writer::new(kind.types);
    for (key, values) in &profile.samples {
        let labels: Vec<(&str, Label<'_>)> = key
            .labels
            .iter()
            .map(|(key, value)| {
                let value = match value {
                    Value::Text(text) => Label::Text(text),
                    Value::Bytes(number) => Label::Number(*number, "bytes"),
                };
                (key.as_str(), value)
            })
            .collect();
        writer.sample(key.calls.iter().copied(), values, &labels);
    }
    if !kind.drop.is_empty() {
        writer.drop_frames(kind.drop);
    }
    writer.taken(profile.at, profile.over);
    writer.period(kind.period, profile.period);
    profile.remarks.iter().for_each(|text| writer.comment(text));
    if !kind.default.is_empty() {
        writer.default_type(kind.default);
    }
    let mut symbols = Symbols::default();
    let bytes = writer.finish(true, |address| {
        symbols.at(address).iter().map(line).collect()
    });
    let mut compressed = GzEncoder::new(out, Compression::fast());
    io::Write::write_all(&mut compressed, &bytes)?;
    compressed.finish().map(drop)
}

fn line(call: &Call) -> Line {
    let (file, line) = call.place.clone().unwrap_or_default();
    Line {
        function: call.function.clone(),
        file,
        line,
    }
}
