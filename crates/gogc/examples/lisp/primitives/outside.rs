//! What reaches beyond the heap: output, errors, the collector, time, threads.

use super::Outcome;
use crate::heap::Kind;
use crate::machine::{Arguments, Machine, Trap};
use crate::printer;
use crate::runtime::Gc;
use crate::value::Value;
use crate::world::Stack;
use std::sync::Arc;

fn print<G: Gc>(m: &mut Machine<G>, text: &str) -> Outcome {
    match m.mutator.runtime.print(text) {
        Ok(()) => Ok(Value::UNSPECIFIED),
        Err(why) => Err(Trap::Error(format!("nobody takes the output: {why}"))),
    }
}

pub fn display<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let text = printer::displayed(m.heap(), m.argument(arguments, 0));
    print(m, &text)
}

pub fn write<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let text = printer::written(m.heap(), m.argument(arguments, 0));
    print(m, &text)
}

pub fn newline<G: Gc>(m: &mut Machine<G>, _: Arguments) -> Outcome {
    print(m, "\n")
}

/// `(error "what is wrong" with these)`
pub fn error<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let first = m.argument(arguments, 0);
    let mut message = printer::displayed(m.heap(), first);
    for index in 1..arguments.count {
        let value = m.argument(arguments, index);
        message.push(' ');
        message += &printer::written(m.heap(), value);
    }
    Err(Trap::Error(message))
}

pub fn exit<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let code = match arguments.count {
        0 => 0,
        _ => m.index(arguments, 0, 255)?,
    };
    Err(Trap::Exit(code as u8))
}

/// Collects all that can be.
pub fn collect<G: Gc>(m: &mut Machine<G>, _: Arguments) -> Outcome {
    let top = m.everything_on_stack();
    m.mutator.away(top, |runtime| runtime.collect_now());
    Ok(Value::UNSPECIFIED)
}

/// Milliseconds since the interpreter was started.
pub fn milliseconds<G: Gc>(m: &mut Machine<G>, _: Arguments) -> Outcome {
    let now = gogc::World::now(&m.mutator.runtime.world);
    Ok(Value::small((now.0 / 1_000_000) as usize))
}

/// Says that a piece of work is done, to whoever measures.
pub fn tick<G: Gc>(m: &mut Machine<G>, _: Arguments) -> Outcome {
    m.mutator.runtime.tick();
    Ok(Value::UNSPECIFIED)
}

/// `(spawn procedure)`: calls it on a thread of its own, with an interpreter of its own, on the same heap. Returns the number of the thread.
pub fn spawn<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let procedure = m.argument(arguments, 0);
    if m.as_kind(procedure, Kind::Closure).is_none() {
        return Err(m.unfit(procedure, "a procedure to be run"));
    }
    let runtime = m.mutator.runtime.clone();
    let number = runtime.thread_begins();
    let stack = Arc::new(Stack::new(runtime.stack));
    stack.set(0, procedure);
    stack.publish(1);
    runtime.world.register(&stack);
    let (shared, unused) = (runtime.clone(), stack.clone());
    let begun = std::thread::Builder::new().spawn(move || {
        let mut machine = Machine::new(shared.clone(), stack);
        let ended = match machine.run(procedure) {
            Ok(_) => {
                machine.end(Some(number));
                Ok(())
            }
            Err(trap) => {
                machine.end(None);
                Err(match trap {
                    Trap::Error(why) => why,
                    _ => "it ended the program".to_owned(),
                })
            }
        };
        shared.thread_ends(number, ended);
    });
    if let Err(why) = begun {
        let why = format!("no thread could be started: {why}");
        runtime.world.unregister(&unused, None);
        runtime.thread_ends(number, Err(why));
    }
    Ok(Value::small(number as usize))
}

/// `(join thread)`: waits until the thread has ended, and returns what its procedure did.
pub fn join<G: Gc>(m: &mut Machine<G>, arguments: Arguments) -> Outcome {
    let number = m.index(arguments, 0, usize::MAX >> 2)? as u64;
    let top = m.everything_on_stack();
    let ended = m
        .mutator
        .away(top, |runtime| runtime.wait_for_thread(number));
    let error = |why: String| Err(Trap::Error(why));
    match ended {
        Some(Ok(())) => match m.mutator.runtime.world.take_result(number) {
            Some(value) => Ok(value),
            None => error(format!("the result of thread {number} is gone")),
        },
        Some(Err(why)) => error(format!("thread {number}: {why}")),
        None => error(format!("there is no thread {number} to wait for")),
    }
}
