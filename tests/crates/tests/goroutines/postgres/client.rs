//! A small blocking client: what a program would write that has `postgres-protocol` and a stream.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::IsNull;
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use std::io::{self, Read, Write};

pub struct Client<S> {
    stream: S,
    input: BytesMut,
    output: BytesMut,
}

/// Rows of columns, as text.
type Rows = Vec<Vec<String>>;

impl<S: Read + Write> Client<S> {
    /// Logs in as a user who is trusted.
    pub fn connect(stream: S, user: &str) -> io::Result<Client<S>> {
        let mut client = Client {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
        };
        let parameters = [("user", user), ("database", "postgres")];
        frontend::startup_message(parameters, &mut client.output)?;
        client.answer()?;
        Ok(client)
    }

    /// Runs one statement.
    pub fn query(&mut self, sql: &str) -> io::Result<Rows> {
        frontend::query(sql, &mut self.output)?;
        self.answer()
    }

    /// Runs one with a parameter, which is a text.
    pub fn query_with(&mut self, sql: &str, parameter: &str) -> io::Result<Rows> {
        const TEXT: u32 = 25;
        let out = &mut self.output;
        frontend::parse("", sql, [TEXT], out)?;
        let serialize = |value: &str, buffer: &mut BytesMut| {
            buffer.extend_from_slice(value.as_bytes());
            Ok(IsNull::No)
        };
        frontend::bind("", "", [0], [parameter], serialize, [0], out)
            .map_err(|_| io::Error::other("the parameter cannot be bound"))?;
        frontend::execute("", 0, out)?;
        frontend::sync(out);
        self.answer()
    }

    /// Says good-bye, and sees the server go.
    pub fn end(mut self) -> io::Result<()> {
        frontend::terminate(&mut self.output);
        self.stream.write_all(&self.output)?;
        match self.stream.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("the server had more to say")),
        }
    }

    /// Sends what there is, and collects the answer until the server is ready for more.
    fn answer(&mut self) -> io::Result<Rows> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        let (mut rows, mut failed) = (Vec::new(), None);
        loop {
            match self.message()? {
                Message::DataRow(row) => rows.push(columns(&row)?),
                Message::ErrorResponse(body) => failed = Some(text(&body)?),
                Message::ReadyForQuery(_) => {
                    return failed.map_or(Ok(rows), |why| Err(io::Error::other(why)));
                }
                _ => {}
            }
        }
    }

    fn message(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.input)? {
                return Ok(message);
            }
            let mut part = [0; 4096];
            match self.stream.read(&mut part)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.input.extend_from_slice(&part[..n]),
            }
        }
    }
}

fn columns(row: &DataRowBody) -> io::Result<Vec<String>> {
    row.ranges()
        .map(|range| {
            let bytes = range.map_or(&b""[..], |range| &row.buffer()[range]);
            Ok(String::from_utf8_lossy(bytes).into_owned())
        })
        .collect()
}

fn text(body: &ErrorResponseBody) -> io::Result<String> {
    let message = body.fields().find(|field| Ok(field.type_() == b'M'))?;
    Ok(message.map_or_else(String::new, |field| {
        String::from_utf8_lossy(field.value_bytes()).into_owned()
    }))
}
