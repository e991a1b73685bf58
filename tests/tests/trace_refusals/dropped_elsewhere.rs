//! Drop glue that may run on its own thread only.

use goruntime::gc::Trace;

#[derive(Trace)]
struct Callback {
    //~ cannot be sent between threads safely
    run: Box<dyn Fn()>,
}

fn main() {}
