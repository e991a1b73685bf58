//! tungstenite over our streams.

use super::{crowd, payload, serve};
use goruntime::net::{TcpStream, UnixStream};
use std::io::{Read, Write};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Message, WebSocket};

/// Sends back what it gets, until the peer says good-bye.
fn echo(mut socket: WebSocket<impl Read + Write>) {
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).unwrap(),
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn two_hundred_conversations() {
    let address = serve(|stream| echo(tungstenite::accept(stream).unwrap()));
    crowd(move |i| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut socket, response) =
            tungstenite::client(format!("ws://{address}/chat"), stream).unwrap();
        assert_eq!(response.status(), 101);
        let text = Message::text(format!("goroutine {i}"));
        socket.send(text.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), text);
        let large = Message::binary(payload(i, 100_000));
        socket.send(large.clone()).unwrap();
        assert!(socket.read().unwrap() == large);
        socket.send(Message::Ping("ping".into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong("ping".into()));
        let reason = CloseFrame {
            code: CloseCode::Normal,
            reason: "done".into(),
        };
        socket.close(Some(reason)).unwrap();
        assert!(socket.read().unwrap().is_close());
        let end = socket.read().unwrap_err();
        assert!(matches!(end, tungstenite::Error::ConnectionClosed));
    });
}

/// Without the handshake, over a socket of this machine.
#[test]
fn over_a_pair() {
    let (a, b) = UnixStream::pair().unwrap();
    let server = goruntime::go(move || {
        echo(WebSocket::from_raw_socket(a, Role::Server, None));
    });
    let mut client = WebSocket::from_raw_socket(b, Role::Client, None);
    client.send(Message::text("hello")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("hello"));
    client.close(None).unwrap();
    while client.read().is_ok() {}
    server.join().unwrap();
}
