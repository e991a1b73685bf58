//! A goroutine that panics; with the argument `hook` in a program that has a hook of its own.

use goruntime::Builder;

#[inline(never)]
fn loses_it(depth: u32) -> u32 {
    match depth {
        0 => panic!("all is lost after {depth}"),
        _ => std::hint::black_box(loses_it(depth - 1)) + 1,
    }
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("hook") {
        std::panic::set_hook(Box::new(|info| eprintln!("the program's hook: {info}")));
    }
    let doomed = Builder::new().name("doomed").spawn(|| loses_it(3)).unwrap();
    assert!(doomed.join().is_err());
    std::thread::spawn(|| panic!("a plain thread"))
        .join()
        .unwrap_err();
}
