//! Programs by every collector, as they should be and under torture.

use std::io::Write;
use std::sync::{Arc, Mutex};

use gogc::Config;

use crate::machine::Trap;
use crate::methods::{METHODS, Method, Setup, When};
use crate::{Programs, methods};

/// Programs that are checked in, with what they print.
macro_rules! programs {
    ($($name:literal),*) => {
        [$((
            $name,
            include_str!(concat!("programs/", $name, ".lisp")),
            include_str!(concat!("programs/", $name, ".out")),
        )),*]
    };
}

const PROGRAMS: [(&str, &str, &str); 6] = programs!(
    "closures",
    "queens",
    "selfinterpreter",
    "sorting",
    "threads",
    "words"
);

/// What a program prints.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn setup(method: Method, when: When) -> (Setup, Output) {
    let output = Output::default();
    let setup = Setup {
        method,
        when,
        checked: true,
        heap: 16 << 20,
        config: Config::default(),
        stack: 1 << 14,
        traced: false,
        output: Box::new(output.clone()),
    };
    (setup, output)
}

/// Runs a program; returns what it printed.
fn run(setup: Setup, output: &Output, text: &str) -> Result<String, Trap> {
    let texts = [text.to_owned()];
    methods::with(setup, Programs { texts: &texts }).unwrap()?;
    let printed = std::mem::take(&mut *output.0.lock().unwrap());
    Ok(String::from_utf8(printed).unwrap())
}

fn run_all(when: When) {
    for (name, text, expected) in PROGRAMS {
        for (method, method_name) in METHODS {
            let (setup, output) = setup(method, when);
            let printed = run(setup, &output, text);
            assert_eq!(printed.as_deref(), Ok(expected), "{name} by {method_name}");
        }
    }
}

#[test]
fn programs_print_what_they_should_by_every_collector() {
    run_all(When::Due);
}

/// A collection before every instruction that may allocate, and a check of each: a value that is on no stack when the world stops is found out.
#[test]
fn programs_stand_a_collection_at_every_allocation() {
    run_all(When::AtEachAllocation);
}

/// Collections back to back, beside programs that run.
#[test]
fn programs_stand_collections_all_the_time() {
    run_all(When::AllTheTime);
}

fn message(text: &str) -> String {
    let (setup, output) = setup(Method::Concurrent, When::Due);
    match run(setup, &output, text) {
        Err(Trap::Error(why)) => why,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        ("(car 5)", "5 is not a pair\n  in the program"),
        (
            "(define (f) (vector-ref (vector 1) 1)) (f)",
            "1 is not a number from 0 to 0\n  in f",
        ),
        (
            "(nothing)",
            "the variable nothing is not defined\n  in the program",
        ),
        (
            "((lambda (x) x))",
            "a procedure takes 1 arguments and is given 0\n  in the program",
        ),
        (
            "(cons 1)",
            "cons takes 2 arguments and is given 1\n  in the program",
        ),
        ("(5 5)", "5 is no procedure\n  in the program"),
        (
            "(define car 5)",
            "car is a primitive procedure; it cannot be redefined\n  in (define car 5)",
        ),
        (
            "(let ((x)) x)",
            "(x) is not a name and a value\n  in (let ((x)) x)",
        ),
        (
            "(* 4611686018427387903 2)",
            "the result is too large for a number\n  in the program",
        ),
        ("(quotient 1 0)", "1 is divided by 0\n  in the program"),
        (
            "(error \"no\" 'such \"thing\")",
            "no such \"thing\"\n  in the program",
        ),
        (
            "(join (spawn (lambda () (car 1))))",
            "thread 1: 1 is not a pair\n  in a procedure\n  in the program",
        ),
        (
            "(join 7)",
            "there is no thread 7 to wait for\n  in the program",
        ),
        ("(display", "line 1: the text ends within a datum"),
        (
            "(define (f n) (+ 1 (f n))) (f 0)",
            "the stack is full: recursion is too deep\n  in f",
        ),
    ];
    for (text, why) in cases {
        assert_eq!(message(text), why);
    }
}

/// A heap that is full of garbage is collected; one that is full of what lives is an error, and no more.
#[test]
fn a_heap_that_is_full_is_collected_first_and_then_said_to_be() {
    let fits = "(define (loop n) (make-vector 1000 n) (if (= n 0) 'done (loop (- n 1)))) (print (loop 20000))";
    let does_not = "(define (grow list) (grow (cons list (make-vector 100 list)))) (grow '())";
    for (method, name) in METHODS {
        let off = Config {
            percent: gogc::GcPercent::Off,
            ..Config::default()
        };
        let set_up = || {
            let (setup, output) = setup(method, When::Due);
            (
                Setup {
                    config: off,
                    heap: 4 << 20,
                    ..setup
                },
                output,
            )
        };
        let (setup, output) = set_up();
        assert_eq!(run(setup, &output, fits).as_deref(), Ok("done\n"), "{name}");
        let (setup, output) = set_up();
        let full = Trap::Error("the heap is full\n  in grow".to_owned());
        assert_eq!(run(setup, &output, does_not), Err(full), "{name}");
    }
}

/// The classical failure of counting, seen by a program: circles that nobody can reach fill the heap.
#[test]
fn circles_fill_the_heap_if_nobody_looks_for_them() {
    let text = "(define (circles n)
                  (let ((pair (list n))) (set-cdr! pair pair))
                  (if (= n 0) 'done (circles (- n 1))))
                (print (circles 200000))";
    for (method, name) in METHODS {
        let (setup, output) = setup(method, When::Due);
        let setup = Setup {
            heap: 2 << 20,
            checked: false,
            ..setup
        };
        let expected = match method {
            Method::Leaking => Err(Trap::Error("the heap is full\n  in circles".to_owned())),
            _ => Ok("done\n".to_owned()),
        };
        assert_eq!(run(setup, &output, text), expected, "{name}");
    }
}

#[test]
fn a_program_can_end_itself() {
    let (setup, output) = setup(Method::Concurrent, When::Due);
    assert_eq!(run(setup, &output, "(exit 3)"), Err(Trap::Exit(3)));
}
