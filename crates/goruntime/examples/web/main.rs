//! A small web server: routes, files, and a list of notes as JSON. `cargo run --example web -- 127.0.0.1:8080 FOLDER`
//!
//! ```text
//! curl localhost:8080/                           the page
//! curl localhost:8080/files/README.md            a file of FOLDER, sent by the kernel
//! curl localhost:8080/api/notes -d 'buy milk'    a note
//! curl localhost:8080/api/notes                  all of them
//! curl -X DELETE localhost:8080/api/notes/1
//! ```
//!
//! One goroutine per connection, in plain blocking style: `request.rs` reads requests, `http.rs` writes answers, `router.rs` finds out who answers, `files.rs` and `notes.rs` do. Ctrl-C ends it.

mod files;
mod http;
mod json;
mod notes;
mod request;
mod router;
#[cfg(test)]
mod tests;

use goruntime::net::TcpListener;
use goruntime::signal::{self, Signal};
use http::Response;
use notes::Notes;
use router::Router;
use std::path::PathBuf;
use std::sync::Arc;

const PAGE: &str = "<!doctype html><title>goruntime</title><p>Hello from a goroutine.\n";

fn routes(folder: PathBuf) -> Router {
    let notes = Arc::new(Notes::default());
    let (all, add, remove) = (notes.clone(), notes.clone(), notes);
    Router::new()
        .on("GET", "/", |_, _| Response::html(PAGE))
        .on("GET", "/files/{path..}", move |_, found| {
            files::send(&folder, &found["path"])
        })
        .on("GET", "/api/notes", move |_, _| all.list())
        .on("POST", "/api/notes", move |request, _| add.add(request))
        .on("DELETE", "/api/notes/{id}", move |_, found| {
            remove.remove(&found["id"])
        })
}

/// Serves until the listener is closed.
fn serve(listener: &TcpListener, router: Router) {
    let router = Arc::new(router);
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                let router = router.clone();
                goruntime::go(move || http::serve(&stream, |request| router.answer(request)));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => return,
            Err(error) => eprintln!("cannot accept: {error}"),
        }
    }
}

#[goruntime::main]
fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8080".to_owned());
    let folder = arguments.next().unwrap_or(".".to_owned());
    let listener = Arc::new(TcpListener::bind(address)?);
    println!("listening on {}", listener.local_addr()?);
    let interrupts = signal::notify([Signal::INTERRUPT, Signal::TERMINATE])?;
    let closing = listener.clone();
    goruntime::go(move || {
        let _ = interrupts.recv();
        closing.close();
    });
    serve(&listener, routes(folder.into()));
    Ok(())
}
