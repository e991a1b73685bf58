//! rustls over our streams.

use super::{crowd, payload, serve};
use goruntime::net::TcpStream;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use std::io::{Read, Write};
use std::sync::Arc;

/// A server's configuration for `localhost`, and the certificate of who vouches for it.
pub fn server_config() -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    (Arc::new(config), authority.der().clone())
}

#[test]
fn two_hundred_encrypted_connections() {
    let (server, root) = server_config();
    let address = serve(move |socket| {
        let connection = ServerConnection::new(server.clone()).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let mut message = vec![0; u32::from_le_bytes(length) as usize];
            stream.read_exact(&mut message).unwrap();
            message.reverse();
            stream.write_all(&message).unwrap();
            stream.flush().unwrap();
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    crowd(move |i| {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(client.clone(), name).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
        for round in 0..3 {
            let mut message = payload(i + round, 40_000 + i);
            stream
                .write_all(&(message.len() as u32).to_le_bytes())
                .unwrap();
            stream.write_all(&message).unwrap();
            let mut answer = vec![0; message.len()];
            stream.read_exact(&mut answer).unwrap();
            message.reverse();
            assert!(answer == message);
        }
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
}

/// A client that does not trust the server ends with an error on both sides, and nobody hangs.
#[test]
fn a_stranger_is_refused() {
    let (server, _) = server_config();
    let (_, another_root) = server_config();
    let (sender, ends) = goruntime::chan::bounded(1);
    let address = serve(move |socket| {
        let connection = ServerConnection::new(server.clone()).unwrap();
        let result = StreamOwned::new(connection, socket).read(&mut [0]);
        let _ = sender.send(result.is_err());
    });
    let mut roots = RootCertStore::empty();
    roots.add(another_root).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    drop(stream);
    assert_eq!(ends.recv(), Ok(true));
}
