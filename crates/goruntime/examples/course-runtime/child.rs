//! The program started again, with other variables in its environment: settings of the runtime are read once.

use std::process::Command;

/// What a child printed.
pub struct Printed {
    pub out: String,
    pub err: String,
}

/// Runs this program with other arguments and variables, to its end.
pub fn run(name: &str, tiny: bool, variables: &[(&str, &str)]) -> Printed {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.arg(name).args(tiny.then_some("--tiny"));
    command.envs(variables.iter().copied());
    let output = goruntime::blocking(|| command.output()).expect("it can be started again");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = Printed {
        out: text(&output.stdout),
        err: text(&output.stderr),
    };
    assert!(output.status.success(), "{name} failed:\n{}", printed.err);
    printed
}

/// Runs an experiment in which nothing is collected but when it asks.
pub fn without_pacer(name: &str, tiny: bool) {
    print!("{}", run(name, tiny, &[("GOGC", "off")]).out);
}
