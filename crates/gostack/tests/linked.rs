//! A C++ library whose thread-local has a constructor and a destructor, in the program from its start, as if it were linked: the test
//! runs itself with the library preloaded. Skipped, with a line that says so, where there is no C++ compiler.

#[path = "contexts/task.rs"]
#[allow(dead_code)]
mod task;

use std::path::PathBuf;
use std::process::Command;

use task::{Task, pool};

const SOURCE: &str = r#"
    #include <atomic>
    static std::atomic<int> made, ended;
    struct Counter {
        int value = 40;
        Counter() { made++; }
        ~Counter() { ended += value; }
    };
    static thread_local Counter counter;
    extern "C" int cxx_bump() { return ++counter.value; }
    extern "C" int cxx_made() { return made; }
    extern "C" int cxx_ended() { return ended; }
"#;

/// Set in the child that has the library.
const SCENE: &str = "GOSTACK_TEST_LINKED";

type Function = extern "C" fn() -> i32;

fn symbol(name: &std::ffi::CStr) -> Function {
    // SAFETY: a terminated string.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    assert!(!symbol.is_null(), "{name:?} is not in the program");
    // SAFETY: the library's functions have this type.
    unsafe { std::mem::transmute::<*mut libc::c_void, Function>(symbol) }
}

/// The child's part.
#[test]
fn scene() {
    if std::env::var_os(SCENE).is_none() {
        return;
    }
    let (bump, made, ended) = (
        symbol(c"cxx_bump"),
        symbol(c"cxx_made"),
        symbol(c"cxx_ended"),
    );
    assert_eq!(bump(), 41);
    assert_eq!(made(), 1);
    let pool = pool();
    // The second round uses the first one's blocks.
    for round in 0..2 {
        let mut tasks: Vec<_> = (0..4)
            .map(|_| {
                Task::new(&pool, move |suspender| {
                    assert_eq!(bump(), 41);
                    suspender.suspend();
                    assert_eq!(bump(), 42);
                })
            })
            .collect();
        for task in &mut tasks {
            assert!(!task.resume());
        }
        std::thread::scope(|scope| {
            for task in &mut tasks {
                scope.spawn(|| assert!(task.resume()));
            }
        });
        assert_eq!(made(), 1 + 4 * (round + 1));
        assert_eq!(ended(), 4 * 42 * (round + 1));
    }
    assert_eq!(bump(), 42);
}

#[test]
fn a_cxx_thread_local_belongs_to_the_context() {
    let directory = std::env::temp_dir().join(format!("gostack-linked-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let library: PathBuf = directory.join("liblinked.so");
    let source = directory.join("linked.cc");
    std::fs::write(&source, SOURCE).unwrap();
    let built = Command::new("c++")
        .args(["-std=c++17", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .output();
    match built {
        Err(_) => println!("skipped: there is no C++ compiler here"),
        Ok(built) => {
            assert!(
                built.status.success(),
                "{}",
                String::from_utf8_lossy(&built.stderr)
            );
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["scene", "--exact", "--nocapture", "--test-threads=1"])
                .env(SCENE, "1")
                .env("LD_PRELOAD", &library)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
