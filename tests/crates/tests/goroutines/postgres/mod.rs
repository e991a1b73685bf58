//! PostgreSQL's protocol over our streams, by the crate that its clients are made of: against a server of ours, and against PostgreSQL where it is installed.

mod client;
mod fake;
mod real;

use super::{crowd, serve};
use client::Client;
use goruntime::net::{TcpStream, UnixStream};
use std::io::{Read, Write};

/// Asks a few things, by simple and by prepared statements, and makes a mistake in between.
fn converse(stream: impl Read + Write, i: usize) {
    let mut client = Client::connect(stream, "postgres").unwrap();
    let text = format!("number {i} of two hundred ").repeat(1 + i % 50);
    let reversed: String = text.chars().rev().collect();
    let expected = [[reversed, text.len().to_string()]];
    let sql = format!("select reverse('{text}'), length('{text}')");
    assert_eq!(client.query(&sql).unwrap(), expected);
    let error = client.query("select 1/0").unwrap_err();
    assert!(error.to_string().contains("division by zero"), "{error}");
    let prepared = "select reverse($1), length($1)";
    for _ in 0..3 {
        assert_eq!(client.query_with(prepared, &text).unwrap(), expected);
    }
    client.end().unwrap();
}

#[test]
fn two_hundred_clients_of_a_server_of_ours() {
    let address = serve(|stream| fake::serve(stream).unwrap());
    crowd(move |i| converse(TcpStream::connect(address).unwrap(), i));
}

#[test]
fn two_hundred_clients_of_postgresql() {
    let server = match real::Server::start() {
        Ok(server) => server,
        Err(why) => return println!("skipped: {why}"),
    };
    let (address, path) = (server.address(), server.path());
    crowd(move |i| match i % 2 {
        0 => converse(TcpStream::connect(address).unwrap(), i),
        _ => converse(UnixStream::connect(&path).unwrap(), i),
    });
    server.stop();
}
