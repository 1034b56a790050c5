//! The key pair of https.

use crate::{Error, Kind, Result, Tls};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::path::Path;
use std::sync::Arc;

/// Reads the files of `tls`.
pub(crate) fn load(tls: &Tls) -> Result<Arc<ServerConfig>> {
    let chain = certificates(&tls.certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(&tls.key).map_err(|cause| unreadable(&tls.key, cause))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|cause| Error::new(Kind::Internal, "TLS versions", cause))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for one in certificates(path)? {
                roots.add(one).map_err(|cause| unreadable(path, cause))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|cause| unreadable(path, cause))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|cause| {
        Error::invalid(tls.certificate.display(), cause)
            .with_advice(format!("is {} the key of this certificate?", tls.key.display()))
    })?;
    // Streams upgrade HTTP/1.1; a client that prefers HTTP/2 must not choose it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).map_err(|cause| unreadable(path, cause))?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(|cause| unreadable(path, cause))?;
    if chain.is_empty() {
        return Err(Error::invalid(path.display(), "there is no certificate in it"));
    }
    Ok(chain)
}

fn unreadable(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::invalid(path.display(), cause).with_advice("a readable PEM file is needed")
}
