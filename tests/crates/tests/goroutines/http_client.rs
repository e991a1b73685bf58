//! ureq on our streams: a connector is all that it takes, and its own TLS goes over it.

use goruntime::net::{Dialer, TcpStream};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, Transport,
};
use ureq::{Agent, Error};

/// A client with this configuration.
pub fn agent(config: Config) -> Agent {
    let connector = Connector::<()>::chain(Goroutines, RustlsConnector::default());
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// Connects by this runtime.
#[derive(Debug)]
struct Goroutines;

impl Connector<()> for Goroutines {
    type Out = Stream;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Stream>, Error> {
        let mut dialer = Dialer::new();
        if let Some(timeout) = details.timeout.not_zero() {
            dialer = dialer.timeout(*timeout);
        }
        let stream = dialer.connect(&details.addrs[..]);
        let stream = stream.map_err(|error| told(error, details.timeout))?;
        stream.set_nodelay(details.config.no_delay())?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Stream { stream, buffers }))
    }
}

#[derive(Debug)]
struct Stream {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl Transport for Stream {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream
            .set_write_timeout(timeout.not_zero().map(|t| *t))?;
        let output = &self.buffers.output()[..amount];
        let written = self.stream.write_all(output);
        written.map_err(|error| told(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream
            .set_read_timeout(timeout.not_zero().map(|t| *t))?;
        let input = self.buffers.input_append_buf();
        let read = self.stream.read(input);
        let n = read.map_err(|error| told(error, timeout))?;
        self.buffers.input_appended(n);
        Ok(n > 0)
    }

    /// Nothing is there to be read, not even the end.
    fn is_open(&mut self) -> bool {
        let soonest = Some(Duration::from_nanos(1));
        self.stream.set_read_timeout(soonest).is_ok()
            && matches!(self.stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::TimedOut)
    }
}

fn told(error: std::io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}
