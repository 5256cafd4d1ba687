//! Fetching an image: manifest, config, then the layers that are not here, several at a time, each verified before it
//! counts. The image enters the index last.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use skep_model::engine::{Distribution, Image, PullProgress, RegistryAuth};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::config::ConfigDocument;
use super::digest::ContentDigest;
use super::error::ImageError;
use super::platform::{Descriptor, Platform};
use super::reference::ImageReference;
use super::registry::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Registry};
use super::store::{ImageStore, NewImage, Temporary};

/// Layers of one pull that are fetched at a time (Docker's default).
pub const MAX_PARALLEL_LAYER_DOWNLOADS: usize = 3;
/// Largest manifest (the distribution specification asks registries for 4 MiB).
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Largest image configuration.
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;
/// Largest layer as transferred.
pub const MAX_LAYER_BLOB_BYTES: u64 = 64 << 30;
/// An image that is asked for only to see whether credentials are taken; it need not exist.
const LOGIN_PROBE: &str = "library/busybox";
/// Bytes between two reports of progress.
const PROGRESS_STEP_BYTES: u64 = 1 << 20;

/// A manifest, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestDocument {
    #[serde(default)]
    media_type: String,
    schema_version: u32,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<Vec<Descriptor>>,
}

impl ManifestDocument {
    fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let document: Self =
            serde_json::from_slice(bytes).map_err(|source| ImageError::Json { what: "manifest", source })?;
        if document.schema_version != 2 {
            let reason = format!("manifest schema version {} is not supported, only 2", document.schema_version);
            return Err(ImageError::InvalidImage(reason));
        }
        Ok(document)
    }

    fn media_type(&self) -> &str {
        match (self.media_type.as_str(), &self.manifests) {
            ("", Some(_)) => OCI_INDEX,
            ("", None) => OCI_MANIFEST,
            (stated, _) => stated,
        }
    }
}

/// Where a pull reports to; no one may be listening.
#[derive(Clone)]
struct Progress(Option<mpsc::Sender<PullProgress>>);

impl Progress {
    async fn say(&self, id: &str, status: impl Into<String>) {
        if let Some(sender) = &self.0 {
            let step = PullProgress { id: id.to_owned(), status: status.into(), ..PullProgress::default() };
            // A listener that went away does not stop the pull.
            let _ = sender.send(step).await;
        }
    }

    /// Bytes are only news: a slow listener misses some.
    fn count(&self, id: &str, current_bytes: u64, total_bytes: u64) {
        if let Some(sender) = &self.0 {
            let status = "Downloading".to_owned();
            let _ = sender.try_send(PullProgress { id: id.to_owned(), status, current_bytes, total_bytes });
        }
    }
}

impl ImageStore {
    /// The image if it is here, else pulled. A tag that is here is not asked for again: `pull` does that.
    pub async fn resolve_or_pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: Option<mpsc::Sender<PullProgress>>,
    ) -> Result<Image, ImageError> {
        match self.get(reference) {
            Err(ImageError::NotFound(_)) => self.pull(reference, None, auth, progress).await,
            found => {
                if let Some(id) = found.as_ref().ok().and_then(|image| image.id.parse().ok()) {
                    self.touch(&id);
                }
                found
            }
        }
    }

    /// Asks the registry what the reference stands for now, and fetches what is missing.
    pub async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: Option<&RegistryAuth>,
        progress: Option<mpsc::Sender<PullProgress>>,
    ) -> Result<Image, ImageError> {
        let reference = ImageReference::parse(reference)?;
        let platform = Platform::parse(platform.unwrap_or_default())?;
        let progress = Progress(progress);
        let registry = Arc::new(Registry::new(&reference, auth, &self.shared.options)?);
        registry.log_in().await?;
        let (top, top_digest) = registry.manifest(None).await?;
        let wanted = reference.digest.as_ref().map(ToString::to_string).or_else(|| reference.tag.clone());
        progress.say(&wanted.unwrap_or_default(), format!("Pulling from {}", reference.path)).await;
        let (manifest_bytes, manifest) = choose_manifest(&registry, &reference, &platform, top).await?;
        let config_bytes = fetch_config(&registry, &manifest).await?;
        let config = ConfigDocument::parse(&config_bytes)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let (layers, ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
            return Err(ImageError::InvalidImage(format!("the manifest has {layers} layers, the config {ids}")));
        }
        let pins = self.pin(&config.rootfs.diff_ids);
        let known = self.get(&ContentDigest::of(&config_bytes).to_string()).is_ok();
        self.fetch_layers(&registry, &manifest.layers, &config.rootfs.diff_ids, &progress).await?;
        let image = NewImage {
            config: config_bytes,
            manifest: Some(manifest_bytes.to_vec()),
            tags: reference.tagged().filter(|_| reference.digest.is_none()).into_iter().collect(),
            digests: vec![reference.with_digest(&top_digest)],
        };
        let image = self.blocking(move |store| store.enter(image)).await?;
        drop(pins);
        progress.say("", format!("Digest: {top_digest}")).await;
        let status = if known { "Image is up to date for" } else { "Downloaded newer image for" };
        progress.say("", format!("Status: {status} {reference}")).await;
        Ok(image)
    }

    /// Shows credentials to a registry, named as clients do: `host:port`, a URL of it, or nothing for Docker Hub.
    pub async fn check_credentials(&self, server: &str, auth: &RegistryAuth) -> Result<(), ImageError> {
        let host = server.split_once("://").map_or(server, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        let domain = if host.is_empty() || host == "index.docker.io" { "docker.io" } else { host };
        let reference = ImageReference::parse(&format!("{domain}/{LOGIN_PROBE}"))?;
        let result = Registry::new(&reference, Some(auth), &self.shared.options)?.check().await;
        result.map_err(|error| match error {
            ImageError::Denied { answer, .. } => ImageError::WrongCredentials { registry: domain.to_owned(), answer },
            other => other,
        })
    }

    /// What a registry says of a reference, without fetching any of it.
    pub async fn distribution(&self, reference: &str, auth: Option<&RegistryAuth>) -> Result<Distribution, ImageError> {
        let reference = ImageReference::parse(reference)?;
        let registry = Registry::new(&reference, auth, &self.shared.options)?;
        registry.log_in().await?;
        let (bytes, digest) = registry.manifest(None).await?;
        let manifest = ManifestDocument::parse(&bytes)?;
        let platforms = match &manifest.manifests {
            Some(entries) => entries.iter().filter_map(|entry| entry.platform.clone()).collect(),
            None => {
                let config = fetch_config(&registry, &manifest).await?;
                let platform: Platform =
                    serde_json::from_slice(&config).map_err(|source| ImageError::Json { what: "config", source })?;
                vec![platform]
            }
        };
        Ok(Distribution {
            media_type: manifest.media_type().to_owned(),
            digest: digest.to_string(),
            size_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            platforms: platforms.into_iter().map(|found| (found.architecture, found.os, found.variant)).collect(),
        })
    }

    async fn fetch_layers(
        &self,
        registry: &Arc<Registry>,
        layers: &[Descriptor],
        diff_ids: &[ContentDigest],
        progress: &Progress,
    ) -> Result<(), ImageError> {
        for layer in layers {
            check_layer_kind(layer)?;
            progress.say(layer.digest.short(), "Pulling fs layer").await;
        }
        // Made before the stream: a closure held across the await would keep the compiler from seeing that this is `Send`.
        let fetches: Vec<_> = layers
            .iter()
            .zip(diff_ids)
            .map(|(layer, diff_id)| self.fetch_layer(registry, layer, diff_id, progress))
            .collect();
        stream::iter(fetches).buffer_unordered(MAX_PARALLEL_LAYER_DOWNLOADS).try_collect().await
    }

    async fn fetch_layer(
        &self,
        registry: &Registry,
        layer: &Descriptor,
        diff_id: &ContentDigest,
        progress: &Progress,
    ) -> Result<(), ImageError> {
        let short = layer.digest.short();
        let lock = self.layer_lock(diff_id);
        let _making = lock.lock().await;
        if self.has_layer(diff_id) {
            progress.say(short, "Already exists").await;
            return Ok(());
        }
        let file = self.download(registry, layer, progress).await?;
        progress.say(short, "Download complete").await;
        progress.say(short, "Extracting").await;
        let expected = diff_id.clone();
        self.blocking(move |store| {
            let archive = std::fs::File::open(&file.0).map_err(ImageError::io("open", &file.0))?;
            let unpacked = store.unpack_layer(archive)?;
            if unpacked.diff_id != expected {
                return Err(ImageError::DigestMismatch { what: "layer", expected, actual: unpacked.diff_id.clone() });
            }
            store.adopt_layer(unpacked)
        })
        .await?;
        progress.say(short, "Pull complete").await;
        Ok(())
    }

    /// Streams a layer to disk; the client's stream fails at its end when the digest is another.
    async fn download(
        &self,
        registry: &Registry,
        layer: &Descriptor,
        progress: &Progress,
    ) -> Result<Temporary, ImageError> {
        let too_large = |limit_bytes| ImageError::TooLarge { what: format!("layer {}", layer.digest), limit_bytes };
        let limit = if layer.size == 0 { MAX_LAYER_BLOB_BYTES } else { layer.size };
        if limit > MAX_LAYER_BLOB_BYTES {
            return Err(too_large(MAX_LAYER_BLOB_BYTES));
        }
        let mut stream = registry.blob(layer).await?.stream;
        let target = self.temporary();
        let mut file = tokio::fs::File::create(&target.0).await.map_err(ImageError::io("create", &target.0))?;
        let (mut received, mut reported) = (0, 0);
        while let Some(piece) = stream.next().await {
            let piece: Bytes = piece.map_err(|error| registry.broken(error))?;
            received += piece.len() as u64;
            if received > limit {
                return Err(too_large(limit));
            }
            file.write_all(&piece).await.map_err(ImageError::io("write", &target.0))?;
            if received - reported >= PROGRESS_STEP_BYTES {
                reported = received;
                progress.count(layer.digest.short(), received, layer.size);
            }
        }
        file.flush().await.map_err(ImageError::io("write", &target.0))?;
        progress.say(layer.digest.short(), "Verifying Checksum").await;
        Ok(target)
    }
}

/// Follows a list to the manifest of the platform; lists do not nest.
async fn choose_manifest(
    registry: &Registry,
    reference: &ImageReference,
    platform: &Platform,
    top: Bytes,
) -> Result<(Bytes, ManifestDocument), ImageError> {
    let document = ManifestDocument::parse(&top)?;
    let Some(entries) = &document.manifests else { return check_manifest(top, document) };
    if !matches!(document.media_type(), DOCKER_LIST | OCI_INDEX) {
        return Err(unsupported(document.media_type()));
    }
    let chosen = platform
        .choose(entries)
        .ok_or_else(|| ImageError::NoPlatform { reference: reference.to_string(), platform: platform.to_string() })?;
    let (bytes, _) = registry.manifest(Some(&chosen.digest)).await?;
    let document = ManifestDocument::parse(&bytes)?;
    check_manifest(bytes, document)
}

fn check_manifest(bytes: Bytes, document: ManifestDocument) -> Result<(Bytes, ManifestDocument), ImageError> {
    match document.media_type() {
        DOCKER_MANIFEST | OCI_MANIFEST if document.config.is_some() => Ok((bytes, document)),
        other => Err(unsupported(other)),
    }
}

fn unsupported(media_type: &str) -> ImageError {
    ImageError::InvalidImage(format!("manifest of media type {media_type:?} is not supported"))
}

async fn fetch_config(registry: &Registry, manifest: &ManifestDocument) -> Result<Vec<u8>, ImageError> {
    let Some(config) = &manifest.config else { return Err(unsupported(manifest.media_type())) };
    let mut stream = registry.blob(config).await?.stream;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| registry.broken(error))?);
        if bytes.len() as u64 > MAX_CONFIG_BYTES {
            return Err(ImageError::TooLarge { what: "image configuration".to_owned(), limit_bytes: MAX_CONFIG_BYTES });
        }
    }
    let actual = ContentDigest::of(&bytes);
    if actual != config.digest {
        return Err(ImageError::DigestMismatch { what: "config", expected: config.digest.clone(), actual });
    }
    Ok(bytes)
}

/// Tar layers only, and none that live elsewhere.
fn check_layer_kind(layer: &Descriptor) -> Result<(), ImageError> {
    let refuse = |reason: &str| Err(ImageError::InvalidImage(format!("layer {}: {reason}", layer.digest)));
    if layer.urls.as_ref().is_some_and(|urls| !urls.is_empty()) {
        return refuse("foreign layers (with urls) are not supported");
    }
    match layer.media_type.as_str() {
        "application/vnd.docker.image.rootfs.diff.tar"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd"
        | "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.v1.tar+zstd" => Ok(()),
        other => refuse(&format!("media type {other:?} is not supported")),
    }
}
