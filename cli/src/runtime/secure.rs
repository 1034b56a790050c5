//! Streams over TLS. This command runs on the daemon's node, and so knows its certificate from the
//! file: that very one is trusted, whoever signed it.

use super::daemon::{Daemon, fault};
use super::session::broken;
use crate::fault::{Fault, Result};
use cri_api::v1::StatusRequest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Puts TLS over a connection to the daemon's streams.
///
/// # Errors
/// Its certificate cannot be read or is another one; it wants one of its clients.
pub(super) async fn over(
    daemon: &Daemon,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>> {
    let path = certificate(daemon).await?;
    let file = path.display().to_string();
    let known = CertificateDer::from_pem_file(&path);
    let known = known.map_err(|e| Fault::new(5, file.as_str(), e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Known { certificate: known, provider: Arc::clone(&provider) });
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(broken)?.dangerous();
    let config = builder.with_custom_certificate_verifier(verifier).with_no_client_auth();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name).map_err(broken)?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|e| {
        broken(e).advise(format!(
            "{file} is the daemon's certificate: SIGHUP has it read again after a change; where \
             clients must show one of their own, use kubectl"
        ))
    })
}

/// The file of the daemon's certificate, as its configuration says.
async fn certificate(daemon: &Daemon) -> Result<PathBuf> {
    let answer = daemon.runtime().status(StatusRequest { verbose: true }).await;
    let info = answer.map_err(|status| fault("daemon", &status))?.into_inner().info;
    let config = info.get("config").map(|text| serde_json::from_str::<Value>(text));
    let config = config.transpose().map_err(broken)?.unwrap_or_default();
    match config["streaming"]["tls"]["certificate"].as_str() {
        Some(path) => Ok(PathBuf::from(path)),
        None => Err(broken("its streams are https, and its configuration names no certificate")),
    }
}

/// Trusts one certificate.
#[derive(Debug)]
struct Known {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        match *end_entity == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General("it shows another certificate".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
