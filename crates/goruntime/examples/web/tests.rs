//! The server as its clients see it.

use super::{PAGE, routes, serve};
use goruntime::net::{TcpListener, TcpStream};
use goruntime::{fs, go};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;

fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    go(move || serve(&listener, routes(PathBuf::from(env!("CARGO_MANIFEST_DIR")))));
    address
}

/// Everything that the server answers to these bytes.
fn say(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = say(address, &format!("GET {path} HTTP/1.1\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[test]
fn pages_and_files() {
    let address = start();
    assert_eq!(get(address, "/"), (200, PAGE.to_owned()));
    assert_eq!(get(address, "/?who=me").0, 200);
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    assert_eq!(get(address, "/files/Cargo.toml"), (200, manifest.unwrap()));
    assert_eq!(get(address, "/files/src/lib.rs").0, 200);
    assert_eq!(get(address, "/files/none").0, 404);
    assert_eq!(get(address, "/files/src").0, 403);
    for path in ["/files/../Cargo.toml", "/files//etc/passwd", "/files/./x"] {
        assert_ne!(get(address, path).0, 200, "{path}");
    }
    assert_eq!(get(address, "/none").0, 404);
    let head = say(address, "HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"));
}

#[test]
fn notes_on_one_connection() {
    let address = start();
    let post = |text: &str| {
        let length = text.len();
        format!("POST /api/notes HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{text}")
    };
    let talk = [
        post("milk"),
        post("say \"hi\"\n"),
        "DELETE /api/notes/1 HTTP/1.1\r\n\r\n".to_owned(),
        "DELETE /api/notes/1 HTTP/1.1\r\n\r\n".to_owned(),
        "GET /api/notes HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
    ];
    let answer = say(address, &talk.concat());
    let statuses: Vec<&str> = answer
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(statuses, ["201", "201", "204", "404", "200"]);
    assert!(
        answer.ends_with(r#"[{"id":2,"text":"say \"hi\"\n"}]"#),
        "{answer}"
    );
}

#[test]
fn what_is_no_request() {
    let address = start();
    let status = |bytes: &str| say(address, bytes)[9..12].to_owned();
    assert_eq!(status("nonsense\r\n\r\n"), "400");
    assert_eq!(status("GET / HTTP/2\r\n\r\n"), "400");
    assert_eq!(status("GET / HTTP/1.1\r\nno colon\r\n\r\n"), "400");
    assert_eq!(status("PUT / HTTP/1.1\r\n\r\n"), "405");
    let many = "X: y\r\n".repeat(5000);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), "431");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    assert_eq!(status(&long), "431");
    assert_eq!(
        status("POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"),
        "413"
    );
    assert_eq!(
        status("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "501"
    );
    for lengths in [
        "Content-Length: +1",
        "Content-Length: 1\r\nContent-Length: 2",
    ] {
        let request = format!("POST / HTTP/1.1\r\n{lengths}\r\n\r\nxx");
        assert_eq!(status(&request), "400");
    }
    assert_eq!(status("GET / HTTP/1.1\r\nHost : here\r\n\r\n"), "400");
    assert_eq!(say(address, ""), "");
}

#[test]
fn two_hundred_clients() {
    let address = start();
    let clients: Vec<_> = (0..200)
        .map(|_| go(move || assert_eq!(get(address, "/files/src/lib.rs").0, 200)))
        .collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
}
