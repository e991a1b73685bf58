//! A field that borrows.

use goruntime::gc::{Gc, Trace};

#[derive(Trace)]
struct Named<T>(T);

fn main() {
    let local = String::from("here today");
    //~ `local` does not live long enough
    Gc::new(Named(local.as_str()));
}
