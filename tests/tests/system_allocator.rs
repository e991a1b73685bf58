//! Without gomem as the global allocator everything but `Gc` works, and `Gc` says what is missing.

use goruntime::{chan, gc::Gc, go};

#[test]
fn gc_says_what_is_missing() {
    let panic = go(|| {
        let _ = Gc::new(1u32);
    })
    .join()
    .unwrap_err();
    let message = panic.message().unwrap().to_owned();
    assert!(message.contains("GoMalloc"), "{message}");
    assert!(message.contains("#[global_allocator]"), "{message}");
}

#[test]
fn the_rest_works() {
    let (tx, rx) = chan::bounded(2);
    let sum = go(move || rx.iter().sum::<u64>());
    for i in 0..1000 {
        tx.send(i).unwrap();
    }
    drop(tx);
    assert_eq!(sum.join().unwrap(), 499_500);
}
