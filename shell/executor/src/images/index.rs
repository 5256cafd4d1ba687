//! The index: which names stand for which images. One JSON file, replaced as a whole and fsynced before it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::ContentDigest;
use super::error::ImageError;
use super::reference::{ImageReference, familiar};

const FORMAT: u32 = 1;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    format: u32,
    /// By id (digest of the config).
    pub images: BTreeMap<ContentDigest, ImageRecord>,
    /// `docker.io/library/busybox:latest` → id.
    pub tags: BTreeMap<String, ContentDigest>,
    /// `docker.io/library/busybox@sha256:…` → id.
    pub digests: BTreeMap<String, ContentDigest>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The platform's manifest, when it came from a registry.
    pub manifest: Option<ContentDigest>,
    /// Lowest first.
    pub diff_ids: Vec<ContentDigest>,
    /// Of the unpacked layers.
    pub size_bytes: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self { format: FORMAT, images: BTreeMap::new(), tags: BTreeMap::new(), digests: BTreeMap::new() }
    }
}

impl Index {
    /// Reads the file; a missing one is an empty index, an unreadable one an error.
    pub fn load(path: &Path) -> Result<Self, ImageError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(ImageError::io("read", path)(error)),
        };
        let index: Self =
            serde_json::from_slice(&bytes).map_err(|source| ImageError::Json { what: "image index", source })?;
        if index.format != FORMAT {
            let reason = format!("{} has format {}, this version knows {FORMAT}", path.display(), index.format);
            return Err(ImageError::InvalidImage(reason));
        }
        Ok(index)
    }

    /// Replaces the file; when this returns, the new one survives a crash.
    pub fn save(&self, path: &Path) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec(self).map_err(|source| ImageError::Json { what: "image index", source })?;
        replace_file(path, &bytes)
    }

    /// What a name or id stands for: full id, tag, digest, then a prefix of an id.
    pub fn find(&self, name: &str) -> Result<ContentDigest, ImageError> {
        if let Ok(id) = name.parse::<ContentDigest>()
            && self.images.contains_key(&id)
        {
            return Ok(id);
        }
        if let Ok(reference) = ImageReference::parse(name)
            && let Some(id) = self.find_reference(&reference)
        {
            return Ok(id);
        }
        self.find_prefix(name)
    }

    /// What a parsed reference stands for here; a digest wins over a tag.
    pub fn find_reference(&self, reference: &ImageReference) -> Option<ContentDigest> {
        match &reference.digest {
            Some(digest) => self.digests.get(&reference.with_digest(digest)).cloned(),
            None => reference.tagged().and_then(|tagged| self.tags.get(&tagged).cloned()),
        }
    }

    fn find_prefix(&self, name: &str) -> Result<ContentDigest, ImageError> {
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        if prefix.is_empty() || !prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ImageError::NotFound(name.to_owned()));
        }
        let mut matches = self.images.keys().filter(|id| id.hex().starts_with(prefix));
        match (matches.next(), matches.next()) {
            (Some(id), None) => Ok(id.clone()),
            (Some(_), Some(_)) => Err(ImageError::Ambiguous(name.to_owned())),
            (None, _) => Err(ImageError::NotFound(name.to_owned())),
        }
    }

    /// Tags of an image, familiar form.
    pub fn tags_of(&self, id: &ContentDigest) -> Vec<String> {
        names_of(&self.tags, id).iter().map(|name| familiar(name)).collect()
    }

    /// Digest references of an image, familiar form.
    pub fn digests_of(&self, id: &ContentDigest) -> Vec<String> {
        names_of(&self.digests, id).iter().map(|name| familiar(name)).collect()
    }

    /// Drops an image and every name of it; returns the names in familiar form.
    pub fn forget(&mut self, id: &ContentDigest) -> Vec<String> {
        let names = [self.tags_of(id), self.digests_of(id)].concat();
        self.images.remove(id);
        self.tags.retain(|_, target| target != id);
        self.digests.retain(|_, target| target != id);
        names
    }

    /// Layers that some image needs.
    pub fn layers(&self) -> BTreeSet<ContentDigest> {
        self.images.values().flat_map(|image| image.diff_ids.iter().cloned()).collect()
    }

    /// Configs and manifests that some image needs.
    pub fn blobs(&self) -> BTreeSet<ContentDigest> {
        self.images.iter().flat_map(|(id, image)| [Some(id.clone()), image.manifest.clone()]).flatten().collect()
    }
}

/// Full names that stand for an image.
pub fn names_of(names: &BTreeMap<String, ContentDigest>, id: &ContentDigest) -> Vec<String> {
    names.iter().filter(|(_, target)| *target == id).map(|(name, _)| name.clone()).collect()
}

/// Writes beside, fsyncs, renames over, fsyncs the directory.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside).map_err(ImageError::io("create", &beside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(ImageError::io("write", &beside))?;
    fs::rename(&beside, path).map_err(ImageError::io("replace", path))?;
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(ImageError::io("sync", parent))
}
