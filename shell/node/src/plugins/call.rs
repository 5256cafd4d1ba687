//! One question to a plugin; nothing is kept open.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use skep_manager::DriverFailure;
use skep_rpc::question::{self, QuestionError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::find::{Address, TlsAddress};

/// Largest answer that is read: a secret's data of the largest size, in base64, and what is around it.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What Docker's engines call the type of what they say and accept.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";
/// Whom Docker's engines ask for on a socket.
const LOCAL_HOST: &str = "plugin.moby.localhost";

/// What a plugin answered.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Posts JSON.
pub(super) async fn post(address: &Address, path: &str, body: Vec<u8>) -> Result<Answer, DriverFailure> {
    match address {
        Address::Unix(socket) => {
            let stream = UnixStream::connect(socket).await;
            let stream = stream.map_err(|error| away(format!("{}: {error}", socket.display())))?;
            exchange(stream, LOCAL_HOST, path, body).await
        }
        Address::Tcp(authority) => exchange(connect(authority).await?, authority, path, body).await,
        Address::Tls(tls) => {
            let tcp = connect(&tls.authority).await?;
            let host = tls.authority.rsplit_once(':').map_or(tls.authority.as_str(), |(host, _)| host);
            let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(name).map_err(|error| away(error.to_string()))?;
            let config = config(tls).map_err(away)?;
            let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
            exchange(stream.map_err(|error| away(error.to_string()))?, &tls.authority, path, body).await
        }
    }
}

async fn connect(authority: &str) -> Result<TcpStream, DriverFailure> {
    TcpStream::connect(authority).await.map_err(|error| away(format!("{authority}: {error}")))
}

fn config(tls: &TlsAddress) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.trusted)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", tls.trusted.display()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match &tls.identity {
        None => Ok(config.with_no_client_auth()),
        Some((certificate, key_file)) => {
            let key = PrivateKeyDer::from_pem_file(key_file);
            let key = key.map_err(|error| format!("{}: {error}", key_file.display()))?;
            config.with_client_auth_cert(certificates(certificate)?, key).map_err(|error| error.to_string())
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|error| format!("{}: {error}", path.display()))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<Answer, DriverFailure> {
    let failure = |error: QuestionError| match error {
        QuestionError::Connection(_) => away(error.to_string()),
        QuestionError::Body(cause) => DriverFailure::Unreadable { reason: cause.to_string() },
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, host)
        .header(USER_AGENT, "skep")
        .header(ACCEPT, MEDIA_TYPE)
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| away(error.to_string()))?;
    let (status, body) = question::ask(stream, request, ANSWER_BYTES_MAX).await.map_err(failure)?;
    Ok(Answer { status, body })
}

fn away(reason: String) -> DriverFailure {
    DriverFailure::Away { reason }
}
