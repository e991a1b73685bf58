//! The two readers of replies. The tool's is the stricter one: what it reads, the load generator's must read the same.

use crate::foreign::tool_replies::{self, Reply as Strict};
use crate::foreign::wire::{Replies, Reply};
use std::io::{BufReader, Read};

/// Gives a few bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    most: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.rest.len().min(self.most).min(to.len());
        to[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        Ok(count)
    }
}

pub fn run(data: &[u8]) {
    let Some((&most, stream)) = data.split_first() else {
        return;
    };
    let mut source = Pieces {
        rest: stream,
        most: 1 + usize::from(most),
    };
    let mut replies = Replies::new();
    let mut strict_source = BufReader::new(stream);
    loop {
        let reply = replies.next(&mut source);
        match tool_replies::read(&mut strict_source) {
            Ok(strict) => same(&strict, &reply.expect("the strict reader could read it")),
            Err(_) => break,
        }
    }
    // The lenient reader goes on alone until it has had enough.
    while replies.next(&mut source).is_ok() {}
}

fn same(strict: &Strict, reply: &Reply<'_>) {
    let is_text =
        |strict: &String, bytes: &[u8]| assert_eq!(*strict, String::from_utf8_lossy(bytes));
    match (strict, reply) {
        (Strict::Simple(strict), Reply::Status(bytes)) => is_text(strict, bytes),
        (Strict::Error(strict), Reply::Error(bytes)) => is_text(strict, bytes),
        (Strict::Integer(strict), Reply::Integer(number)) => assert_eq!(strict, number),
        (Strict::Bulk(strict), Reply::Bulk(bytes)) => assert_eq!(strict.as_deref(), *bytes),
        (Strict::List(None), Reply::Array(None)) => {}
        (Strict::List(Some(strict)), Reply::Array(Some(elements))) => {
            assert_eq!(strict.len(), elements.len());
            for (strict, element) in strict.iter().zip(elements) {
                same(strict, element);
            }
        }
        _ => panic!("{strict:?} was read as {reply:?}"),
    }
}
