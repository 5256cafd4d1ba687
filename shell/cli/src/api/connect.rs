//! Opening a connection: unix socket, TCP, TLS with the operator's certificates.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::arguments::{Endpoint, Target, Tls};
use crate::failure::Failure;

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects.
pub async fn open(target: &Target) -> Result<Box<dyn Stream>, Failure> {
    let unreachable = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            let url = &target.url;
            return Failure::new(format!("permission denied while trying to connect to the daemon socket at {url}"));
        }
        Failure::new(format!("Cannot connect to the daemon at {}. Is the skep daemon running? ({error})", target.url))
    };
    match &target.endpoint {
        Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(unreachable)?)),
        Endpoint::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
            stream.set_nodelay(true)?;
            let Some(tls) = &target.tls else { return Ok(Box::new(stream)) };
            let connector = TlsConnector::from(Arc::new(configure(tls)?));
            let name = ServerName::try_from(host.clone())
                .map_err(|_| Failure::new(format!("{host:?} is no name that a certificate could have")))?;
            let secured = connector.connect(name, stream).await;
            Ok(Box::new(
                secured.map_err(|error| Failure::new(format!("error during connect: {}: {error}", target.url)))?,
            ))
        }
    }
}

fn configure(tls: &Tls) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let problem = |error: rustls::Error| Failure::new(format!("TLS: {error}"));
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(problem)?;
    let builder = if tls.verify {
        let Some(ca) = &tls.ca else {
            return Err(Failure::new("--tlsverify needs --tlscacert (or DOCKER_CERT_PATH) to say whom to trust"));
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(problem)?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_webpki_verifier(verifier.map_err(|error| Failure::new(format!("TLS: {error}")))?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    };
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) if certificate.exists() || tls.verify => {
            builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?).map_err(problem)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    parsed.map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|error| Failure::new(format!("{} holds no private key that can be used: {error}", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::new(format!("could not read {}: {error}", path.display())))
}

/// `--tls` without `--tlsverify`: encrypted, but to whoever answers, as the operator asked.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
