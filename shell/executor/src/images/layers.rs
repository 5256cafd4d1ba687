//! Layers: unpacked once, verified against their diff id, shared by all images that have them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use super::compression::decompress;
use super::digest::{ContentDigest, Hashing};
use super::error::ImageError;
use super::index::replace_file;
use super::store::{ImageStore, Temporary, digests_in};
use super::unpack::{Limits, Purpose, UnpackError, sync_file_system, unpack};

/// Digits of a layer's link: 104 bits, short enough for `MAX_LAYERS` of them in one page of mount options.
const LINK_DIGITS: usize = 26;

/// A layer unpacked below `tmp`, not yet part of the store.
pub(super) struct UnpackedLayer {
    pub(super) diff_id: ContentDigest,
    directory: Temporary,
}

impl ImageStore {
    /// Whether a layer is in place.
    pub(super) fn has_layer(&self, diff_id: &ContentDigest) -> bool {
        self.layer_size(diff_id).is_ok()
    }

    /// Bytes of content, as counted when it was unpacked. An error means that the layer is not there.
    pub(super) fn layer_size(&self, diff_id: &ContentDigest) -> Result<u64, ImageError> {
        let path = self.layer_path(diff_id).join("size");
        let text = fs::read_to_string(&path).map_err(ImageError::io("read", &path))?;
        text.trim().parse().map_err(|_| ImageError::InvalidImage(format!("{} holds no number", path.display())))
    }

    /// Unpacks a layer archive (compressed or not) into a temporary place.
    pub(super) fn unpack_layer(&self, archive: impl Read + Send) -> Result<UnpackedLayer, ImageError> {
        let directory = self.temporary();
        let diff = directory.0.join("diff");
        fs::DirBuilder::new().mode(0o755).recursive(true).create(&diff).map_err(ImageError::io("make", &diff))?;
        // The root of a container must be enterable by its users, whatever this process's umask.
        fs::set_permissions(&diff, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(ImageError::io("change mode of", &diff))?;
        let plain = Hashing::new(decompress(archive).map_err(UnpackError::Read)?);
        let (plain, bytes) = unpack(plain, &diff, Purpose::Layer, Limits::default())?;
        let (_, diff_id, _) = plain.finish();
        replace_file(&directory.0.join("size"), bytes.to_string().as_bytes())?;
        Ok(UnpackedLayer { diff_id, directory })
    }

    /// Makes an unpacked layer part of the store. Another maker of the same content may have been first; that is fine.
    pub(super) fn adopt_layer(&self, layer: UnpackedLayer) -> Result<(), ImageError> {
        if self.has_layer(&layer.diff_id) {
            return self.link_layer(&layer.diff_id);
        }
        sync_file_system(&layer.directory.0).map_err(ImageError::io("sync", &layer.directory.0))?;
        let path = self.layer_path(&layer.diff_id);
        // Only an incomplete one can be in the way here.
        let _in_the_way = path.exists().then(|| self.retire_layer(&layer.diff_id)).transpose()?;
        fs::rename(&layer.directory.0, &path).map_err(ImageError::io("move layer to", &path))?;
        self.link_layer(&layer.diff_id)
    }

    /// Lower directories for a mount, relative to `links`, topmost first as overlayfs wants them.
    pub(super) fn lower_directories(&self, diff_ids: &[ContentDigest]) -> Result<String, ImageError> {
        for diff_id in diff_ids {
            self.link_layer(diff_id)?;
        }
        Ok(diff_ids.iter().rev().map(link_name).collect::<Vec<_>>().join(":"))
    }

    pub(super) fn links_path(&self) -> PathBuf {
        self.shared.root.join("links")
    }

    pub(super) fn layers_on_disk(&self) -> Result<Vec<ContentDigest>, ImageError> {
        digests_in(&self.shared.root.join("layers"))
    }

    /// Takes a layer out of the store by one rename; dropping the result removes its content.
    pub(super) fn retire_layer(&self, diff_id: &ContentDigest) -> Result<Temporary, ImageError> {
        let link = self.links_path().join(link_name(diff_id));
        if link.is_symlink() {
            fs::remove_file(&link).map_err(ImageError::io("remove", &link))?;
        }
        let target = self.temporary();
        let path = self.layer_path(diff_id);
        fs::rename(&path, &target.0).map_err(ImageError::io("retire", &path))?;
        Ok(target)
    }

    fn layer_path(&self, diff_id: &ContentDigest) -> PathBuf {
        self.shared.root.join("layers").join(diff_id.hex())
    }

    fn link_layer(&self, diff_id: &ContentDigest) -> Result<(), ImageError> {
        let link = self.links_path().join(link_name(diff_id));
        let target = Path::new("../layers").join(diff_id.hex()).join("diff");
        match symlink(&target, &link) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let found = fs::read_link(&link).map_err(ImageError::io("read", &link))?;
                if found == target {
                    return Ok(());
                }
                Err(ImageError::InvalidImage(format!("{} leads to another layer", link.display())))
            }
            result => result.map_err(ImageError::io("link", &link)),
        }
    }
}

fn link_name(diff_id: &ContentDigest) -> &str {
    &diff_id.hex()[..LINK_DIGITS]
}
