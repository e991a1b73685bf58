//! One connection: sends a batch, waits for its replies, starts over.

use crate::model::{Model, Times};
use crate::ops::{Chooser, Encoder, Op};
use crate::options::Options;
use crate::random::{Random, mix};
use crate::report::Tally;
use crate::wire::{Replies, Reply};
use goruntime::net::TcpStream;
use std::io::{self, Write};
use std::time::Instant;

/// The most bytes of requests and replies in a batch, roughly: what the buffers of the two sockets take for sure. With more, both sides
/// could be writing while nobody reads.
const BATCH_BYTES: usize = 64 * 1024;

/// Drives connection `number`, and tells `tally` what happened.
pub fn run(number: u32, options: &Options, tally: &Tally) {
    if let Err(error) = Worker::connect(number, options, tally).and_then(Worker::drive) {
        tally.error(&format!("connection {number} to {}: {error}", options.addr));
    }
}

struct Worker<'a> {
    number: u32,
    options: &'a Options,
    tally: &'a Tally,
    stream: TcpStream,
    replies: Replies,
    encoder: Encoder,
    chooser: Chooser,
    /// Present if replies are checked.
    model: Option<Model>,
    /// Keys of each type.
    keys: u32,
    requests: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn connect(number: u32, options: &'a Options, tally: &'a Tally) -> io::Result<Worker<'a>> {
        let stream = TcpStream::connect(options.addr.as_str())?;
        stream.set_nodelay(true)?;
        let keys = match options.verify {
            true => (options.keys / options.connections).max(1),
            false => options.keys,
        };
        let prefix = match options.verify {
            true => format!("kv-load:{}:{number}:", std::process::id()),
            false => "kv-load:".to_string(),
        };
        let random = Random::new(mix(options.seed) ^ u64::from(number));
        Ok(Worker {
            number,
            options,
            tally,
            stream,
            replies: Replies::new(),
            encoder: Encoder::new(prefix, options.value_size),
            chooser: Chooser::new(random, &options.mix, keys),
            model: options.verify.then(|| Model::new(keys, options.value_size)),
            keys,
            requests: Vec::new(),
        })
    }

    fn drive(mut self) -> io::Result<()> {
        if self.model.is_some() {
            self.reset_keys()?;
        }
        let mut ops = Vec::new();
        loop {
            let count = self.tally.take(self.options);
            if count == 0 {
                break;
            }
            while ops.len() < count as usize {
                ops.push(self.chooser.next());
            }
            self.send(&mut ops, true)?;
        }
        if let Some(model) = &self.model {
            let mut all = model.read_all();
            while let Some(op) = all.next() {
                ops.push(op);
                ops.extend(all.by_ref().take(self.options.pipeline as usize - 1));
                self.send(&mut ops, false)?;
            }
            self.reset_keys()?;
        }
        Ok(())
    }

    /// Sends requests, as many at a time as is safe, and deals with the replies. Leaves `ops` empty.
    fn send(&mut self, ops: &mut Vec<Op>, timed: bool) -> io::Result<()> {
        let mut rest = &ops[..];
        while !rest.is_empty() {
            self.requests.clear();
            let mut replies = 0;
            let mut count = 0;
            while count < rest.len() && (count == 0 || self.requests.len() + replies < BATCH_BYTES)
            {
                self.encoder.encode(rest[count], &mut self.requests);
                replies += rest[count].reply_estimate(self.options.value_size);
                count += 1;
            }
            let (batch, later) = rest.split_at(count);
            self.exchange(batch, timed)?;
            rest = later;
        }
        ops.clear();
        Ok(())
    }

    /// Writes the encoded requests of `batch` and reads the replies.
    fn exchange(&mut self, batch: &[Op], timed: bool) -> io::Result<()> {
        let sent = Instant::now();
        self.stream.write_all(&self.requests)?;
        for op in batch {
            let reply = self.replies.next(&mut self.stream)?;
            let received = Instant::now();
            if timed {
                self.tally.record(self.number, received - sent);
            }
            match &mut self.model {
                Some(model) => match model.check(*op, &reply, Times { sent, received }) {
                    Ok(()) => self.tally.checked(),
                    Err(difference) => self.tally.mismatch(self.number, &difference),
                },
                None => {
                    if let Reply::Error(text) = reply {
                        self.tally
                            .error(&format!("{op:?}: {}", text.escape_ascii()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes all keys of this connection.
    fn reset_keys(&mut self) -> io::Result<()> {
        for key in 0..self.keys {
            self.requests.clear();
            self.encoder.encode_reset(key, &mut self.requests);
            self.stream.write_all(&self.requests)?;
            if let Reply::Error(text) = self.replies.next(&mut self.stream)? {
                self.tally.error(&format!("DEL: {}", text.escape_ascii()));
            }
        }
        Ok(())
    }
}
