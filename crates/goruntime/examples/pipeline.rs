//! A pipeline that ends early: the checksum of every file below a folder, `pipeline FOLDER [SECONDS]`.
//!
//! One goroutine walks the tree, some read files, and main prints in the order of paths. The first error ends them all, and so does the deadline: the context says so to who waits,
//! and is asked between two files by who works.

use goruntime::chan::{self, Receiver, Sender};
use goruntime::context::{Context, SendError};
use goruntime::sync::errgroup::Group;
use goruntime::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const READERS: usize = 8;

#[goruntime::main]
fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds = arguments.next().and_then(|text| text.parse().ok());
    let limit = Duration::from_secs(seconds.unwrap_or(60));
    let (ctx, cancel) = Context::background().with_timeout(limit);
    let _cancel = cancel.defer();
    for (path, sum) in checksums(&ctx, Path::new(&folder))? {
        println!("{sum:016x}  {}", path.display());
    }
    Ok(())
}

/// Of every file below `folder`.
fn checksums(ctx: &Context, folder: &Path) -> io::Result<BTreeMap<PathBuf, u64>> {
    let (group, ctx) = Group::with_context(ctx);
    let (paths, found) = chan::unbuffered();
    let (sums, results) = chan::unbuffered();
    {
        let (ctx, folder) = (ctx.clone(), folder.to_owned());
        group.go(move || walk(&ctx, &folder, &paths));
    }
    for _ in 0..READERS {
        let (ctx, found, sums) = (ctx.clone(), found.clone(), sums.clone());
        group.go(move || read(&ctx, &found, &sums));
    }
    // The results end when the last reader has.
    drop(sums);
    let all = results.iter().collect();
    group.wait().map(|()| all)
}

/// Sends every file below `folder`.
fn walk(ctx: &Context, folder: &Path, paths: &Sender<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(ctx, &entry.path(), paths)?;
        } else if kind.is_file() {
            pass_on(ctx, paths, entry.path())?;
        }
    }
    Ok(())
}

/// Reads the files whose paths it receives.
fn read(ctx: &Context, found: &Receiver<PathBuf>, sums: &Sender<(PathBuf, u64)>) -> io::Result<()> {
    while let Ok(path) = ctx.recv(found) {
        // A file is read by calls that block; the other goroutines go on meanwhile.
        let content = goruntime::blocking(|| fs::read(&path))?;
        pass_on(ctx, sums, (path, fnv(&content)))?;
    }
    Ok(())
}

/// Sends, unless it is all over.
fn pass_on<T: Send>(ctx: &Context, to: &Sender<T>, value: T) -> io::Result<()> {
    ctx.send(to, value).map_err(|error| match error {
        SendError::Done(_, why) => why.into(),
        SendError::Closed(_) => io::ErrorKind::BrokenPipe.into(),
    })
}

/// Fowler, Noll and Vo's hash, variant 1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn every_file_is_read() {
        let sums = checksums(&Context::background(), &source().join("src")).unwrap();
        let this = fs::read(source().join("src/lib.rs")).unwrap();
        assert_eq!(sums[&source().join("src/lib.rs")], fnv(&this));
        assert!(sums.len() > 50);
    }

    #[test]
    fn it_ends_with_the_context_and_with_the_first_error() {
        let (ctx, cancel) = Context::background().with_cancel();
        cancel.cancel();
        let why = checksums(&ctx, source()).unwrap_err();
        assert_eq!(why.to_string(), "context canceled");
        let (late, _cancel) = Context::background().with_timeout(Duration::ZERO);
        let why = checksums(&late, source()).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::TimedOut);
        let nowhere = checksums(&Context::background(), Path::new("/does/not/exist"));
        assert_eq!(nowhere.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
