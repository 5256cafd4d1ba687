//! `docker load`: archives of whole images, as `docker save` writes them (manifest.json) or as an OCI layout
//! (index.json), compressed or not.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use tokio::io::AsyncRead;

use super::compression::decompress;
use super::config::ConfigDocument;
use super::digest::ContentDigest;
use super::error::ImageError;
use super::platform::{Descriptor, Platform};
use super::pull::{MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES};
use super::reference::{ImageReference, familiar};
use super::store::{ImageStore, NewImage};
use super::unpack::{Limits, Purpose, UnpackError, open_in_root, unpack};

/// Images that one archive may hold.
pub const MAX_ARCHIVE_IMAGES: usize = 1000;
const REFERENCE_NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// An entry of `docker save`'s manifest.json.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Layout {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

impl ImageStore {
    /// Reads an archive of images; returns what it held, by name, or by id for those without a name.
    pub async fn load(&self, archive: impl AsyncRead + Send + Unpin) -> Result<Vec<String>, ImageError> {
        let upload = self.receive(archive).await?;
        self.blocking(move |store| {
            let directory = store.temporary();
            std::fs::create_dir(&directory.0).map_err(ImageError::io("make", &directory.0))?;
            let file = std::fs::File::open(&upload.0).map_err(ImageError::io("open", &upload.0))?;
            let plain = decompress(file).map_err(UnpackError::Read)?;
            unpack(plain, &directory.0, Purpose::Files, Limits::default())?;
            drop(upload);
            store.load_directory(&directory.0)
        })
        .await
    }

    /// manifest.json first: archives that have both say there which tags they hold.
    fn load_directory(&self, directory: &Path) -> Result<Vec<String>, ImageError> {
        if let Some(bytes) = read_small(directory, "manifest.json", MAX_MANIFEST_BYTES)? {
            let saved: Vec<SavedImage> =
                serde_json::from_slice(&bytes).map_err(|source| ImageError::Json { what: "manifest.json", source })?;
            limit_images(saved.len())?;
            return saved
                .iter()
                .map(|image| self.load_saved(directory, image))
                .collect::<Result<Vec<_>, _>>()
                .map(flatten);
        }
        if let Some(bytes) = read_small(directory, "index.json", MAX_MANIFEST_BYTES)? {
            let layout = parse_layout(&bytes, "index.json")?;
            let manifests = layout.manifests.unwrap_or_default();
            limit_images(manifests.len())?;
            return manifests
                .iter()
                .map(|entry| self.load_layout_entry(directory, entry))
                .collect::<Result<Vec<_>, _>>()
                .map(flatten);
        }
        Err(ImageError::InvalidImage("the archive has neither manifest.json nor index.json".to_owned()))
    }

    fn load_saved(&self, directory: &Path, image: &SavedImage) -> Result<Vec<String>, ImageError> {
        let config = require(directory, &image.config, MAX_CONFIG_BYTES)?;
        let tags = image.repo_tags.iter().flatten().map(|tag| full_tag(tag)).collect::<Result<Vec<_>, _>>()?;
        let layers: Vec<String> = image.layers.clone().unwrap_or_default();
        self.load_image(directory, config, None, &layers, tags.into_iter().flatten().collect())
    }

    fn load_layout_entry(&self, directory: &Path, entry: &Descriptor) -> Result<Vec<String>, ImageError> {
        let tag = REFERENCE_NAMES.iter().find_map(|key| entry.annotations.as_ref()?.get(*key));
        // A bare tag (`1.0`) names no repository: then there is no name to give.
        let named = tag.filter(|name| name.contains([':', '/'])).map(|name| full_tag(name)).transpose()?.flatten();
        let mut bytes = require_blob(directory, &entry.digest, MAX_MANIFEST_BYTES)?;
        let mut layout = parse_layout(&bytes, "manifest")?;
        if let Some(nested) = &layout.manifests {
            let platform = Platform::host();
            let chosen = platform.choose(nested).ok_or_else(|| ImageError::NoPlatform {
                reference: entry.digest.to_string(),
                platform: platform.to_string(),
            })?;
            bytes = require_blob(directory, &chosen.digest, MAX_MANIFEST_BYTES)?;
            layout = parse_layout(&bytes, "manifest")?;
        }
        let Some(config) = layout.config else {
            return Err(ImageError::InvalidImage(format!("manifest {} has no config", entry.digest)));
        };
        let config = require_blob(directory, &config.digest, MAX_CONFIG_BYTES)?;
        let layers: Vec<String> =
            layout.layers.unwrap_or_default().iter().map(|layer| blob_name(&layer.digest)).collect();
        self.load_image(directory, config, Some(bytes), &layers, named.into_iter().collect())
    }

    fn load_image(
        &self,
        directory: &Path,
        config: Vec<u8>,
        manifest: Option<Vec<u8>>,
        layers: &[String],
        tags: Vec<String>,
    ) -> Result<Vec<String>, ImageError> {
        let document = ConfigDocument::parse(&config)?;
        let diff_ids = &document.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            let reason = format!("the archive has {} layers, the config {}", layers.len(), diff_ids.len());
            return Err(ImageError::InvalidImage(reason));
        }
        let _pins = self.pin(diff_ids);
        for (name, diff_id) in layers.iter().zip(diff_ids) {
            if !self.has_layer(diff_id) {
                self.load_layer(directory, name, diff_id)?;
            }
        }
        let loaded = if tags.is_empty() {
            vec![ContentDigest::of(&config).to_string()]
        } else {
            tags.iter().map(|tag| familiar(tag)).collect()
        };
        self.enter(NewImage { config, manifest, tags, digests: Vec::new() })?;
        Ok(loaded)
    }

    fn load_layer(&self, directory: &Path, name: &str, diff_id: &ContentDigest) -> Result<(), ImageError> {
        let file = open_in_root(directory, name).map_err(ImageError::io("open in the archive", Path::new(name)))?;
        let unpacked = self.unpack_layer(file)?;
        if unpacked.diff_id != *diff_id {
            let actual = unpacked.diff_id.clone();
            return Err(ImageError::DigestMismatch { what: "layer", expected: diff_id.clone(), actual });
        }
        self.adopt_layer(unpacked)
    }
}

fn flatten(lists: Vec<Vec<String>>) -> Vec<String> {
    lists.into_iter().flatten().collect()
}

fn limit_images(count: usize) -> Result<(), ImageError> {
    if count > MAX_ARCHIVE_IMAGES {
        return Err(ImageError::InvalidImage(format!(
            "{count} images in one archive, the limit is {MAX_ARCHIVE_IMAGES}"
        )));
    }
    Ok(())
}

fn full_tag(name: &str) -> Result<Option<String>, ImageError> {
    let reference = ImageReference::parse(name)?;
    Ok(reference.tagged().filter(|_| reference.digest.is_none()))
}

fn parse_layout(bytes: &[u8], what: &'static str) -> Result<Layout, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Json { what, source })
}

fn blob_name(digest: &ContentDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn require_blob(directory: &Path, digest: &ContentDigest, limit: u64) -> Result<Vec<u8>, ImageError> {
    let bytes = require(directory, &blob_name(digest), limit)?;
    let actual = ContentDigest::of(&bytes);
    if actual != *digest {
        return Err(ImageError::DigestMismatch { what: "blob", expected: digest.clone(), actual });
    }
    Ok(bytes)
}

fn require(directory: &Path, name: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
    read_small(directory, name, limit)?
        .ok_or_else(|| ImageError::InvalidImage(format!("{name:?} is missing in the archive")))
}

/// A document of the archive, `None` when it is not there.
fn read_small(directory: &Path, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, ImageError> {
    let file = match open_in_root(directory, name) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ImageError::io("open in the archive", Path::new(name))(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(ImageError::io("read in the archive", Path::new(name)))?;
    if bytes.len() as u64 > limit_bytes {
        return Err(ImageError::TooLarge { what: format!("{name} of the archive"), limit_bytes });
    }
    Ok(Some(bytes))
}
