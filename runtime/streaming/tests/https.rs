//! Streams over TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto};
use stage::{Spdy, exec, parts, soon};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use streaming::{Kind, Server, Settings, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A folder with an authority and key pairs of it; goes with the test.
struct Keys(PathBuf);

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Keys {
    fn new(name: &str) -> Keys {
        let dir = std::env::temp_dir().join(format!("podloom-https-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let keys = Keys(dir);
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        keys.write("ca.pem", &authority.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(authority, key);
        for one in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let names = ["127.0.0.1".to_owned()];
            let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer);
            keys.write(&format!("{one}.pem"), &certificate.unwrap().pem());
            keys.write(&format!("{one}.key"), &key.serialize_pem());
        }
        keys
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn settings(&self, with_clients: Option<&str>) -> Settings {
        let tls = Tls {
            certificate: self.at("server.pem"),
            key: self.at("server.key"),
            client_ca: with_clients.map(|name| self.at(name)),
        };
        Settings { tls: Some(tls), ..Settings::default() }
    }

    /// A connector that trusts the authority, and shows the client's certificate if it is to.
    fn connector(&self, shown: Option<&str>) -> TlsConnector {
        let read = |path: &Path| CertificateDer::from_pem_file(path).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(read(&self.at("ca.pem"))).unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(self.at(&format!("{name}.key"))).unwrap();
                let chain = vec![read(&self.at(&format!("{name}.pem")))];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// What `echo hello` answers over TLS, or why there is no answer.
async fn hello(server: &Server, connector: TlsConnector) -> std::io::Result<String> {
    let url = server.exec_url(exec("cat", "io")).unwrap();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let (host, path) = parts(&url);
    let stream = TcpStream::connect(host).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, stream).await?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    let mut client = Spdy::over(stream, String::new());
    client.open(&[("streamtype", "error")]).await;
    let stdin = client.open(&[("streamtype", "stdin")]).await;
    let stdout = client.open(&[("streamtype", "stdout")]).await;
    client.data(stdin, b"hello").await;
    client.finish(stdin).await;
    Ok(stage::spdy::text(&client.rest().await, stdout))
}

async fn bind(settings: Settings) -> streaming::Result<Server> {
    Server::bind(settings, Arc::new(stage::Host::default())).await
}

#[tokio::test]
async fn commands_run_over_tls() {
    let keys = Keys::new("plain");
    let server = bind(keys.settings(None)).await.unwrap();
    assert_eq!(soon(hello(&server, keys.connector(None))).await.unwrap(), "hello");
}

#[tokio::test]
async fn clients_without_a_certificate_are_refused_where_one_is_needed() {
    let keys = Keys::new("mutual");
    let server = bind(keys.settings(Some("ca.pem"))).await.unwrap();
    assert_eq!(soon(hello(&server, keys.connector(Some("client")))).await.unwrap(), "hello");
    assert!(soon(hello(&server, keys.connector(None))).await.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_then_on() {
    let (keys, others) = (Keys::new("before"), Keys::new("after"));
    let server = bind(keys.settings(None)).await.unwrap();
    let before = keys.connector(None);
    for name in ["server.pem", "server.key"] {
        std::fs::copy(others.at(name), keys.at(name)).unwrap();
    }
    assert_eq!(soon(hello(&server, before.clone())).await.unwrap(), "hello");
    server.renew_tls().unwrap();
    assert!(soon(hello(&server, before)).await.is_err(), "the old authority still vouches");
    assert_eq!(soon(hello(&server, others.connector(None))).await.unwrap(), "hello");
    keys.write("server.key", "no key");
    assert_eq!(server.renew_tls().unwrap_err().kind(), Kind::Invalid);
    assert_eq!(soon(hello(&server, others.connector(None))).await.unwrap(), "hello");
}

#[tokio::test]
async fn files_of_no_use_are_named() {
    let keys = Keys::new("useless");
    keys.write("server.pem", "nothing");
    let error = bind(keys.settings(None)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.subject().ends_with("server.pem"), "{error}");
}
