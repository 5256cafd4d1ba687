//! One conversation with a registry: credentials, transport, and its answers in Docker's words.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth as ClientAuth;
use oci_client::{Client, Reference, RegistryOperation};
use skep_model::engine::RegistryAuth;

use super::digest::ContentDigest;
use super::error::ImageError;
use super::platform::Descriptor;
use super::pull::MAX_MANIFEST_BYTES;
use super::reference::ImageReference;
use super::store::ImageOptions;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest silence within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const ACCEPTED: &[&str] = &[DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX];

/// A repository of a registry.
pub(super) struct Registry {
    client: Client,
    auth: ClientAuth,
    reference: ImageReference,
}

impl Registry {
    /// Prepares; nothing is sent yet.
    pub(super) fn new(
        reference: &ImageReference,
        auth: Option<&RegistryAuth>,
        options: &ImageOptions,
    ) -> Result<Self, ImageError> {
        // Another part of the process may have installed it: then it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = Reference::with_tag(reference.domain.clone(), reference.path.clone(), String::new());
        let plain = is_loopback(&reference.domain) || options.insecure_registries.contains(&reference.domain);
        let protocol = if plain {
            ClientProtocol::HttpsExcept(vec![host.resolve_registry().to_owned()])
        } else {
            ClientProtocol::Https
        };
        let extra_root_certificates = options
            .extra_roots
            .iter()
            .map(|pem| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone() })
            .collect();
        let config = ClientConfig {
            protocol,
            extra_root_certificates,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("skep/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| refusal(reference, error))?;
        Ok(Self { client, auth: client_auth(auth)?, reference: reference.clone() })
    }

    /// Shows the credentials, so that wrong ones are told apart from a missing image.
    pub(super) async fn log_in(&self) -> Result<(), ImageError> {
        let target = self.target(None);
        self.client
            .auth(&target, &self.auth, RegistryOperation::Pull)
            .await
            .map(drop)
            .map_err(|error| refusal(&self.reference, error))
    }

    /// Whether the registry takes the credentials. Registries with a token server refuse wrong ones a token; others
    /// look at them with each request.
    pub(super) async fn check(&self) -> Result<(), ImageError> {
        let target = self.target(None);
        let token = self.client.auth(&target, &self.auth, RegistryOperation::Pull).await;
        if token.map_err(|error| refusal(&self.reference, error))?.is_some() {
            return Ok(());
        }
        match self.manifest(None).await {
            Ok(_) | Err(ImageError::UnknownManifest { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A manifest with its digest, verified: the one the reference names, or the one with `digest`.
    pub(super) async fn manifest(&self, digest: Option<&ContentDigest>) -> Result<(Bytes, ContentDigest), ImageError> {
        let target = self.target(digest);
        let answer = self.client.pull_manifest_raw(&target, &self.auth, ACCEPTED).await;
        let (bytes, stated) = answer.map_err(|error| refusal(&self.reference, error))?;
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ImageError::TooLarge { what: "manifest".to_owned(), limit_bytes: MAX_MANIFEST_BYTES });
        }
        let actual = ContentDigest::of(&bytes);
        let expected = match digest.or(self.reference.digest.as_ref()) {
            Some(digest) => digest.clone(),
            None => stated.parse()?,
        };
        if actual != expected {
            return Err(ImageError::DigestMismatch { what: "manifest", expected, actual });
        }
        Ok((bytes, actual))
    }

    /// A blob as a stream; the reader verifies it.
    pub(super) async fn blob(&self, blob: &Descriptor) -> Result<oci_client::client::SizedStream, ImageError> {
        let digest = blob.digest.to_string();
        let stream = self.client.pull_blob_stream(&self.target(None), digest.as_str()).await;
        stream.map_err(|error| refusal(&self.reference, error))
    }

    /// As the client names things; a digest wins over the tag.
    fn target(&self, digest: Option<&ContentDigest>) -> Reference {
        let (domain, path) = (self.reference.domain.clone(), self.reference.path.clone());
        match (digest.or(self.reference.digest.as_ref()), &self.reference.tag) {
            (Some(digest), _) => Reference::with_digest(domain, path, digest.to_string()),
            (None, tag) => Reference::with_tag(domain, path, tag.clone().unwrap_or_default()),
        }
    }

    /// For errors of the stream.
    pub(super) fn broken(&self, error: std::io::Error) -> ImageError {
        refusal(&self.reference, OciDistributionError::IoError(error))
    }
}

fn client_auth(auth: Option<&RegistryAuth>) -> Result<ClientAuth, ImageError> {
    match auth {
        Some(auth) if !auth.registry_token.is_empty() => Ok(ClientAuth::Bearer(auth.registry_token.clone())),
        Some(auth) if !auth.identity_token.is_empty() => Err(ImageError::UnsupportedAuth(
            "identity tokens are not supported: log in with a user name and a password (or access token)",
        )),
        Some(auth) if !auth.username.is_empty() => Ok(ClientAuth::Basic(auth.username.clone(), auth.password.clone())),
        _ => Ok(ClientAuth::Anonymous),
    }
}

/// `localhost`, 127.0.0.0/8 and ::1, with or without a port.
fn is_loopback(domain: &str) -> bool {
    let host = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => domain.split_once(':').map_or(domain, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The registry's answer, by its own code where it gave one.
fn refusal(reference: &ImageReference, error: OciDistributionError) -> ImageError {
    let unknown = |answer: String| ImageError::UnknownManifest { reference: reference.to_string(), answer };
    let denied = |answer: String| ImageError::Denied { repository: reference.familiar_name(), answer };
    match error {
        OciDistributionError::RegistryError { ref envelope, .. } => {
            let Some(first) = envelope.errors.first() else { return unexpected(reference, error) };
            let code = code_text(&first.code);
            let answer = if first.message.is_empty() { code } else { format!("{code}: {}", first.message) };
            match first.code {
                OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound => unknown(answer),
                OciErrorCode::Unauthorized | OciErrorCode::Denied => denied(answer),
                _ => ImageError::Registry { registry: reference.domain.clone(), answer, source: Some(Box::new(error)) },
            }
        }
        OciDistributionError::ImageManifestNotFoundError(_) | OciDistributionError::ServerError { code: 404, .. } => {
            unknown("manifest unknown".to_owned())
        }
        OciDistributionError::UnauthorizedError { .. } => denied("unauthorized: authentication required".to_owned()),
        OciDistributionError::AuthenticationFailure(ref answer) => denied(format!("unauthorized: {}", answer.trim())),
        OciDistributionError::ServerError { code: 401 | 403, ref message, .. } => denied(message.trim().to_owned()),
        other => unexpected(reference, other),
    }
}

/// `manifest unknown`, as registries and Docker write the code in messages.
fn code_text(code: &OciErrorCode) -> String {
    let text = match serde_json::to_value(code) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    };
    text.to_lowercase().replace('_', " ")
}

/// The innermost cause says most: `Connection refused`, a certificate that is not trusted.
fn unexpected(reference: &ImageReference, error: OciDistributionError) -> ImageError {
    let answer = skep_model::with_causes(&error);
    ImageError::Registry { registry: reference.domain.clone(), answer, source: Some(Box::new(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_plain() {
        for (domain, plain) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.3.2.1:5000", true),
            ("[::1]:5000", true),
            ("docker.io", false),
            ("localhost.example.org", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(is_loopback(domain), plain, "{domain}");
        }
    }

    #[test]
    fn keeps_the_code_of_an_answer() {
        assert_eq!(code_text(&OciErrorCode::ManifestUnknown), "manifest unknown");
        assert_eq!(code_text(&OciErrorCode::Other("ARTIFACT_LOCKED".into())), "artifact locked");
    }
}
