//! An HTTP server: hyper on tokio, a task for each connection.

use super::net::listen;
use bench::Arguments;
use bench::workloads::net::HELLO;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Error, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Serves until the load generator has done its work.
pub fn http(arguments: &Arguments) -> Result<(), String> {
    listen("http", arguments, |stream| async {
        drop(serve(stream).await)
    })
}

async fn serve(stream: TcpStream) -> Result<(), Error> {
    // A connection that fails is over; the generator will say so.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(|_| async {
        let mut response = Response::new(Full::new(Bytes::from_static(HELLO)));
        let kind = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok::<_, Error>(response)
    });
    let builder = http1::Builder::new();
    builder.serve_connection(TokioIo::new(stream), answer).await
}
