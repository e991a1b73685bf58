//! An echo server, a task for each connection.

use super::runtime;
use bench::Arguments;
use bench::workloads::net;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Echoes until the load generator has done its work.
pub fn echo(workload: &str, arguments: &Arguments) -> Result<(), String> {
    let buffer = net::buffer_size(arguments);
    listen(workload, arguments, move |stream| async move {
        // A connection that fails is over; the generator will say so.
        drop(serve(stream, buffer).await)
    })
}

/// Serves each connection in a task of its own, until the load generator has done its work.
pub fn listen<F: Future<Output = ()> + Send + 'static>(
    workload: &str,
    arguments: &Arguments,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> Result<(), String> {
    let runtime = runtime()?;
    let listener = runtime.block_on(TcpListener::bind(net::LOOPBACK));
    let listener = listener.map_err(|why| format!("cannot listen: {why}"))?;
    let address = listener.local_addr().map_err(|why| why.to_string())?;
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    net::load(workload, address, arguments)
}

async fn serve(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; buffer];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}
