//! One question over HTTPS, with this node's certificate; nothing is kept open.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::identity::{NodeIdentity, TrustRoot};
use crate::question;
use crate::tls::provider;

/// The port of a URL that names none.
const HTTPS_PORT: u16 = 443;
/// Largest answer that is read (SwarmKit's limit).
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Trusts these roots, and shows this identity.
pub(super) fn config(identity: &NodeIdentity, trusted: &Bytes) -> Result<Arc<ClientConfig>, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let roots = TrustRoot::from_pem_at_any_time(trusted.clone()).map_err(|error| text(&error))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots.store()), provider())
        .build()
        .map_err(|error| text(&error))?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(identity.chain().to_vec(), identity.key().der().map_err(|error| text(&error))?)
        .map_err(|error| text(&error))?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Reads a URL of an external CA.
pub(super) fn address(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    if uri.scheme_str() != Some("https") {
        return Err("invalid HTTP scheme: it must be https".to_owned());
    }
    if uri.host().is_none_or(str::is_empty) { Err("it names no host".to_owned()) } else { Ok(uri) }
}

/// TCP and TLS.
pub(super) async fn connect(config: Arc<ClientConfig>, url: &Uri) -> Result<TlsStream<TcpStream>, String> {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let tcp = TcpStream::connect((host, url.port_u16().unwrap_or(HTTPS_PORT))).await;
    let tcp = tcp.map_err(|error| error.to_string())?;
    TlsConnector::from(config).connect(name, tcp).await.map_err(|error| error.to_string())
}

/// Posts JSON.
pub(super) async fn post(config: Arc<ClientConfig>, url: &Uri, body: &[u8]) -> Result<(StatusCode, Bytes), String> {
    let tls = connect(config, url).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(USER_AGENT, "skep")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::copy_from_slice(body)))
        .map_err(|error| error.to_string())?;
    question::ask(tls, request, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())
}
