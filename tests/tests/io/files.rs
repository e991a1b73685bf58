//! Files, folders and what else has a path.

use super::{Folder, pattern};
use goruntime::fs::{self, File, OpenOptions};
use goruntime::{go, time};
use std::ffi::CString;
use std::io::{ErrorKind, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_file_is_as_stds() {
    let folder = Folder::new("a_file_is_as_stds");
    let path = folder.path("file");
    let mut file = File::create_new(&path).unwrap();
    assert_eq!(
        File::create_new(&path).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    let bytes = pattern(100_000);
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
    file.seek(SeekFrom::Start(10)).unwrap();
    let mut clone = file.try_clone().unwrap();
    let mut part = [0; 20];
    clone.read_exact(&mut part).unwrap();
    assert_eq!(part, bytes[10..30]);
    assert_eq!(file.stream_position().unwrap(), 30, "they share it");
    file.read_exact_at(&mut part, 50_000).unwrap();
    assert_eq!(part, bytes[50_000..50_020]);
    file.write_all_at(b"overwritten", 0).unwrap();
    file.set_len(11).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 11);
    let mut permissions = file.metadata().unwrap().permissions();
    permissions.set_mode(0o400);
    file.set_permissions(permissions).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "overwritten");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o400);
    let mut text = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut text).unwrap();
    assert_eq!(text, b"overwritten");
    let parts = [IoSlice::new(b" and "), IoSlice::new(b"more")];
    assert_eq!(file.write_vectored(&parts).unwrap(), 9);
    let std: std::fs::File = file.into_std().unwrap();
    assert_eq!(std.metadata().unwrap().len(), 20);
    let error = File::open(folder.path("none")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // A file has no deadline.
    let file = File::from_std(std).unwrap();
    let error = file.set_read_deadline(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn folders_and_links() {
    let folder = Folder::new("folders_and_links");
    let deep = folder.path("a/b/c");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "text").unwrap();
    fs::copy(deep.join("file"), deep.join("copy")).unwrap();
    fs::hard_link(deep.join("file"), deep.join("hard")).unwrap();
    fs::symlink("file", deep.join("soft")).unwrap();
    assert_eq!(fs::read_link(deep.join("soft")).unwrap(), Path::new("file"));
    assert_eq!(
        fs::canonicalize(deep.join("soft")).unwrap(),
        fs::canonicalize(deep.join("file")).unwrap()
    );
    assert!(
        fs::symlink_metadata(deep.join("soft"))
            .unwrap()
            .is_symlink()
    );
    fs::rename(deep.join("copy"), deep.join("moved")).unwrap();
    assert!(fs::exists(deep.join("moved")).unwrap() && !fs::exists(deep.join("copy")).unwrap());
    let mut names: Vec<_> = fs::read_dir(&deep)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["file", "hard", "moved", "soft"]);
    fs::remove_file(deep.join("soft")).unwrap();
    assert!(fs::remove_dir(&deep).is_err(), "it is not empty");
    fs::remove_dir_all(folder.path("a")).unwrap();
    fs::create_dir(folder.path("a")).unwrap();
    fs::remove_dir(folder.path("a")).unwrap();
}

fn fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

/// Goroutines that wait for pipes with a name hold no threads.
#[test]
fn fifos_park() {
    let folder = Folder::new("fifos_park");
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let mut writers = Vec::new();
    let readers: Vec<_> = (0..100)
        .map(|i| {
            let path = folder.path(&i.to_string());
            fifo(&path);
            // Opening waits for the other end; one for both comes at once.
            let both = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .unwrap();
            assert!(both.metadata().unwrap().file_type().is_fifo());
            let mut reader = File::open(&path).unwrap();
            writers.push(File::options().write(true).open(&path).unwrap());
            drop(both);
            go(move || {
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                text
            })
        })
        .collect();
    go(|| time::sleep(Duration::from_millis(30)))
        .join()
        .unwrap();
    let limit = if cfg!(feature = "thread-engine") {
        usize::MAX
    } else {
        60
    };
    let before = threads();
    assert!(before < limit, "{before} threads for 100 readers that wait");
    for (i, mut writer) in writers.into_iter().enumerate() {
        write!(writer, "this is {i}").unwrap();
    }
    for (i, reader) in readers.into_iter().enumerate() {
        assert_eq!(reader.join().unwrap(), format!("this is {i}"));
    }
}

#[test]
fn waiting_at_a_fifo_ends_by_a_deadline_or_a_close() {
    let folder = Folder::new("waiting_at_a_fifo");
    let path = folder.path("fifo");
    fifo(&path);
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    let file = Arc::new(open().unwrap());
    let wait = || {
        let file = file.clone();
        go(move || (&*file).read(&mut [0]).unwrap_err().kind())
    };
    let waiter = wait();
    std::thread::sleep(Duration::from_millis(5));
    file.set_read_deadline(Some(time::now())).unwrap();
    assert_eq!(waiter.join().unwrap(), ErrorKind::TimedOut);
    file.set_read_deadline(None).unwrap();
    let waiter = wait();
    std::thread::sleep(Duration::from_millis(5));
    file.close();
    assert_eq!(waiter.join().unwrap(), ErrorKind::NotConnected);
}

/// A terminal, by its path and by a descriptor of std's whose mode is its owner's affair.
#[test]
fn terminals_park() {
    // SAFETY: plain calls; the descriptor is new.
    let master = unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(master >= 0);
        assert_eq!(libc::grantpt(master), 0);
        assert_eq!(libc::unlockpt(master), 0);
        std::fs::File::from_raw_fd(master)
    };
    let mut name = [0; 64];
    // SAFETY: the buffer is writable and of the length given.
    let found = unsafe { libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len()) };
    assert_eq!(found, 0);
    // SAFETY: it ends with a 0.
    let name = unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) };
    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(name.to_str().unwrap())
        .unwrap();
    terminal.set_read_deadline(None).expect("it can wait");
    let reader = go(move || {
        let mut line = [0; 100];
        let n = terminal.read(&mut line).unwrap();
        String::from_utf8_lossy(&line[..n]).into_owned()
    });
    std::thread::sleep(Duration::from_millis(10));
    let mut master = File::from_std(master).unwrap();
    let error = master.set_read_deadline(None).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unsupported,
        "its mode was left alone"
    );
    master.write_all(b"typed\n").unwrap();
    assert_eq!(reader.join().unwrap(), "typed\n");
}

/// Reading from a disk, or what passes for one, stops nobody else.
#[test]
fn two_hundred_goroutines_read_and_write_files() {
    let folder = Folder::new("two_hundred_files");
    let workers: Vec<_> = (0..200usize)
        .map(|i| {
            let path = folder.path(&i.to_string());
            go(move || {
                let bytes = pattern(20_000 + i);
                fs::write(&path, &bytes).unwrap();
                let mut file = File::open(&path).unwrap();
                let mut got = Vec::new();
                file.read_to_end(&mut got).unwrap();
                assert!(got == bytes);
            })
        })
        .collect();
    workers.into_iter().for_each(|w| w.join().unwrap());
}
