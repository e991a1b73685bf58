//! Small programs in C and C++, each of which says at its head what it does and checks that itself.

use crate::harness::{compile, compile_and_run, run};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

#[track_caller]
fn works(source: &str) {
    if let Some(ran) = compile_and_run(source) {
        ran.well();
    }
}

#[test]
fn every_function_of_the_family_and_its_edges() {
    let Some(ran) = compile_and_run("family.c") else {
        return;
    };
    let ran = ran.well();
    let info = String::from_utf8(ran.stdout).unwrap();
    assert!(info.starts_with("<malloc version=\"1\">"), "{info}");
    assert!(info.ends_with("</malloc>\n"), "{info}");
    let open: Vec<&str> = ["malloc version=\"1\"", "heap nr=\"0\"", "sizes"].into();
    let mut unclosed = Vec::new();
    for line in info.lines() {
        let element = line
            .strip_prefix('<')
            .and_then(|line| line.strip_suffix('>'))
            .expect(line);
        if open.contains(&element) {
            unclosed.push(element.split(' ').next().unwrap());
        } else if let Some(name) = element.strip_prefix('/') {
            assert_eq!(unclosed.pop(), Some(name));
        } else {
            assert!(element.ends_with("\"/"), "{line}");
        }
    }
    assert_eq!(unclosed, [""; 0]);
    // A hundred bytes that the program keeps while it asks; and each class's free blocks, which together are the total.
    let number = |line: &str, key: &str| -> u64 {
        let value = line.split(&format!(" {key}=\"")).nth(1).unwrap();
        value.split('"').next().unwrap().parse().unwrap()
    };
    let sizes = info.lines().filter(|line| line.starts_with("<size "));
    let mut free = 0;
    for line in sizes {
        let (from, to, count) = (
            number(line, "from"),
            number(line, "to"),
            number(line, "count"),
        );
        assert!(from <= to && number(line, "total") == count * to, "{line}");
        assert!(
            (count + number(line, "live")) * to <= number(line, "spans"),
            "{line}"
        );
        free += count;
    }
    let total = info.lines().find(|line| line.contains("type=\"rest\""));
    assert_eq!(number(total.unwrap(), "count"), free);
    assert!(ran.stderr.contains("system bytes"), "{}", ran.stderr);
}

#[test]
fn operators_and_exceptions() {
    works("operators.cpp");
}

#[test]
fn operators_of_which_the_program_replaces_the_basic_forms() {
    for (name, options) in [("replaced", &[][..]), ("replaced-aligned", &["-DALIGNED"])] {
        if let Some(program) = compile("replaced.cpp", name, options) {
            run(&mut Command::new(program)).unwrap().well();
        }
    }
}

#[test]
fn a_new_handler_that_finds_memory() {
    works("handler.cpp");
}

#[test]
fn an_operator_without_a_cpp_library_ends_with_a_message() {
    let Some(ran) = compile_and_run("no_cpp.c") else {
        return;
    };
    assert_eq!(ran.status.signal(), Some(libc::SIGABRT), "{}", ran.stderr);
    assert!(ran.stderr.contains("out of memory"), "{}", ran.stderr);
}

#[test]
fn fork_while_threads_allocate() {
    works("fork_loop.c");
}

#[test]
fn fork_handlers_that_allocate() {
    let library = compile(
        "atfork.c",
        "libatfork.so",
        &["-shared", "-fPIC", "-DLIBRARY"],
    );
    let Some(library) = library else {
        return;
    };
    let path = library.display().to_string();
    if let Some(program) = compile("atfork.c", "atfork-c", &[&path, "-ldl"]) {
        run(&mut Command::new(program)).unwrap().well();
    }
}

#[test]
fn threads_that_come_and_go() {
    works("threads.c");
}

#[test]
fn threads_that_allocate_only_when_they_exit() {
    works("late.c");
}

#[test]
fn a_storm_of_signals() {
    works("signals.c");
}

#[test]
fn libraries_that_come_and_go() {
    let Some(program) = compile("dlopen.c", "dlopen-c", &["-ldl"]) else {
        return;
    };
    let Some(plugin) = compile("plugin.c", "plugin.so", &["-shared", "-fPIC"]) else {
        return;
    };
    // Copies: the same file would be loaded once.
    let plugins: Vec<_> = (0..40)
        .map(|n| {
            let copy = plugin.with_file_name(format!("plugin-{n}.so"));
            std::fs::copy(&plugin, &copy).unwrap();
            copy
        })
        .collect();
    run(Command::new(program).args(plugins)).unwrap().well();
}

#[test]
fn before_main_and_after() {
    works("early.c");
}

#[test]
fn exceptions_in_a_library_that_is_loaded_late() {
    let options = ["-shared", "-fPIC"];
    let Some(plugin) = compile("cpp_plugin.cpp", "cpp-plugin.so", &options) else {
        return;
    };
    if let Some(program) = compile("late_cpp.c", "late-cpp", &["-ldl"]) {
        run(Command::new(program).arg(plugin)).unwrap().well();
    }
}

#[test]
fn nothing_left_and_something_again() {
    works("exhaust.c");
}

/// The programs that use the heap most, hardened; and a block that is freed twice.
#[test]
fn hardened() {
    let run = |program: &std::path::Path, argument: &str| {
        let mut command = Command::new(program);
        run(command
            .env("GOMEM_OPTIONS", "hardened")
            .args(Some(argument).filter(|a| !a.is_empty())))
    };
    for source in [
        "family.c",
        "operators.cpp",
        "fork_loop.c",
        "threads.c",
        "signals.c",
        "early.c",
        "twice.c",
    ] {
        if let Some(program) = compile(source, &format!("hardened-{source}"), &[]) {
            run(&program, "").unwrap().well();
        }
    }
    if let Some(program) = compile("twice.c", "twice-c", &[]) {
        let ran = run(&program, "wrong").unwrap();
        assert_eq!(ran.status.signal(), Some(libc::SIGABRT), "{}", ran.stderr);
        let part = "was freed already (a block of 112 bytes, freed by thread ";
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

#[test]
#[ignore = "two gigabytes of memory"]
fn memory_falls_after_two_gigabytes() {
    let Some(ran) = compile_and_run("idle.c") else {
        return;
    };
    let said = ran.well().stdout;
    println!(
        "peak, left, ms of the processor: {}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn thread_locals_are_reached_without_a_call() {
    works("tls.c");
}
