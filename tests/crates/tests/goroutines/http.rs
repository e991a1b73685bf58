//! HTTP and HTTPS: ureq on one side, httparse on the other.

use super::{crowd, http_client, http_server, payload, serve, tls};
use goruntime::time;
use rustls::{ServerConnection, StreamOwned};
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Each goroutine asks several times, over connections that are kept and shared.
fn ask(agent: &Agent, base: &str, i: usize) {
    for round in 0..3 {
        let mut body = payload(i + round, 20_000 + i);
        let kind = ["plain", "chunked"][round % 2];
        let mut answer = agent
            .post(format!("{base}/{kind}/{i}"))
            .send(&body[..])
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-path"], *format!("/{kind}/{i}"));
        body.reverse();
        assert!(answer.body_mut().read_to_vec().unwrap() == body);
    }
    let mut empty = agent.get(format!("{base}/empty")).call().unwrap();
    assert_eq!(empty.body_mut().read_to_string().unwrap(), "");
}

#[test]
fn two_hundred_clients_of_one_server() {
    let address = serve(|stream| http_server::serve(stream).unwrap());
    let agent = http_client::agent(Agent::config_builder().build());
    let base = format!("http://localhost:{}", address.port());
    crowd(move |i| ask(&agent, &base, i));
}

#[test]
fn the_same_encrypted() {
    let (server, root) = tls::server_config();
    let address = serve(move |socket| {
        let connection = ServerConnection::new(server.clone()).unwrap();
        // A client that is done does not always say good-bye.
        let _ = http_server::serve(StreamOwned::new(connection, socket));
    });
    let root = Certificate::from_der(&root).to_owned();
    let config = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[root]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let agent = http_client::agent(Agent::config_builder().tls_config(config).build());
    let base = format!("https://localhost:{}", address.port());
    crowd(move |i| ask(&agent, &base, i));
}

/// The client's own limit on time is kept by our sockets.
#[test]
fn a_server_that_says_nothing() {
    let address = serve(|_stream| time::sleep(Duration::from_secs(60)));
    let config = Agent::config_builder().timeout_global(Some(Duration::from_millis(50)));
    let agent = http_client::agent(config.build());
    let error = agent.get(format!("http://{address}/")).call().unwrap_err();
    assert!(matches!(error, ureq::Error::Timeout(_)), "{error}");
}
