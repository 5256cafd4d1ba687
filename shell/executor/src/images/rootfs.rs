//! Containers' root file systems: overlayfs over an image's layers, with an upper directory of the container's own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use super::digest::ContentDigest;
use super::error::ImageError;
use super::index::replace_file;
use super::store::ImageStore;
use super::unpack::remove_tree;

const MAX_CONTAINER_ID_BYTES: usize = 128;

/// What a container's file system stands on, kept beside it so that its layers outlive the image's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RootfsRecord {
    pub(super) image: ContentDigest,
    pub(super) diff_ids: Vec<ContentDigest>,
}

impl ImageStore {
    /// Mounts the file system of a container and returns where. Mounting again (after a reboot, say) finds the
    /// container's own changes; a mounted one is left as it is.
    pub fn mount_rootfs(&self, image_id: &str, container_id: &str) -> Result<PathBuf, ImageError> {
        let directory = self.rootfs_path(container_id)?;
        let record = self.rootfs_record(image_id, container_id, &directory)?;
        let merged = directory.join("merged");
        if is_mounted(&merged)? {
            return Ok(merged);
        }
        let lower = self.lower_directories(&record.diff_ids)?;
        let options = format!("lowerdir={lower},upperdir={d}/upper,workdir={d}/work", d = directory.to_string_lossy());
        self.mount_overlay(&merged, options)?;
        Ok(merged)
    }

    /// Unmounts it; what the container wrote stays. Not mounted is fine.
    pub fn unmount_rootfs(&self, container_id: &str) -> Result<(), ImageError> {
        let merged = self.rootfs_path(container_id)?.join("merged");
        match umount2(&merged, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
            Err(error) => Err(ImageError::io("unmount", &merged)(error.into())),
        }
    }

    /// Unmounts it and removes what the container wrote. Gone already is fine.
    pub fn remove_rootfs(&self, container_id: &str) -> Result<(), ImageError> {
        self.unmount_rootfs(container_id)?;
        let directory = self.rootfs_path(container_id)?;
        remove_tree(&directory).map_err(ImageError::io("remove", &directory))?;
        let removed = self.state().rootfs.remove(container_id);
        // Until now the image was in use.
        if let Some(record) = removed.filter(|record| self.blob_path(&record.image).exists()) {
            self.touch(&record.image);
        }
        Ok(())
    }

    /// Containers that have a file system here.
    pub fn rootfs_containers(&self) -> Vec<String> {
        self.state().rootfs.keys().cloned().collect()
    }

    pub(super) fn rootfs_path(&self, container_id: &str) -> Result<PathBuf, ImageError> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if container_id.is_empty() || container_id.len() > MAX_CONTAINER_ID_BYTES || !container_id.bytes().all(fine) {
            return Err(ImageError::InvalidContainerId(container_id.to_owned()));
        }
        Ok(self.shared.root.join("rootfs").join(container_id))
    }

    /// Decides under the lock which layers the container stands on: from here on nothing sweeps them.
    fn rootfs_record(&self, image: &str, container: &str, directory: &Path) -> Result<RootfsRecord, ImageError> {
        let mut state = self.state();
        if let Some(record) = state.rootfs.get(container) {
            return Ok(record.clone());
        }
        let id = state.index.find(image)?;
        let diff_ids = state.index.images.get(&id).map(|record| record.diff_ids.clone()).unwrap_or_default();
        if diff_ids.is_empty() {
            return Err(ImageError::InvalidImage(format!("{image} has no layers, hence no root file system")));
        }
        let record = RootfsRecord { image: id, diff_ids };
        for name in ["upper", "work", "merged"] {
            let path = directory.join(name);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(ImageError::io("make", &path))?;
        }
        self.copy_root_attributes(&record, &directory.join("upper"))?;
        let json = serde_json::to_vec(&record).map_err(|source| ImageError::Json { what: "rootfs record", source })?;
        replace_file(&directory.join("image.json"), &json)?;
        state.rootfs.insert(container.to_owned(), record.clone());
        self.touch(&record.image);
        Ok(record)
    }

    /// The merged root shows the upper directory's mode and owner, which must be the image's.
    fn copy_root_attributes(&self, record: &RootfsRecord, upper: &Path) -> Result<(), ImageError> {
        let Some(top) = record.diff_ids.last() else { return Ok(()) };
        let source = self.shared.root.join("layers").join(top.hex()).join("diff");
        let found = fs::metadata(&source).map_err(ImageError::io("read", &source))?;
        fs::set_permissions(upper, found.permissions()).map_err(ImageError::io("change mode of", upper))?;
        use std::os::unix::fs::MetadataExt;
        std::os::unix::fs::chown(upper, Some(found.uid()), Some(found.gid()))
            .map_err(ImageError::io("change owner of", upper))
    }

    pub(super) fn load_rootfs_records(&self) -> Result<BTreeMap<String, RootfsRecord>, ImageError> {
        let directory = self.shared.root.join("rootfs");
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(ImageError::io("list", &directory))? {
            let entry = entry.map_err(ImageError::io("list", &directory))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let parsed =
                fs::read(entry.path().join("image.json")).ok().and_then(|json| serde_json::from_slice(&json).ok());
            match parsed {
                Some(record) => {
                    records.insert(name, record);
                }
                // A crash before the record was written: nothing ever ran on it.
                None => remove_tree(&entry.path()).map_err(ImageError::io("remove", &entry.path()))?,
            }
        }
        Ok(records)
    }

    /// From a thread of its own with its own working directory, so that the lower directories can be named shortly.
    fn mount_overlay(&self, merged: &Path, options: String) -> Result<(), ImageError> {
        let (links, target) = (self.links_path(), merged.to_owned());
        let mounting = std::thread::spawn(move || -> Result<(), Errno> {
            unshare(CloneFlags::CLONE_FS)?;
            nix::unistd::chdir(&links)?;
            mount(Some("overlay"), &target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        });
        match mounting.join() {
            Ok(result) => result.map_err(|errno| ImageError::io("mount", merged)(errno.into())),
            Err(_) => Err(ImageError::io("mount", merged)(std::io::Error::other("the mounting thread panicked"))),
        }
    }
}

/// Whether something is mounted exactly there: the device differs from the parent's.
fn is_mounted(path: &Path) -> Result<bool, ImageError> {
    use std::os::unix::fs::MetadataExt;
    let own = fs::metadata(path).map_err(ImageError::io("read", path))?;
    let parent = path.parent().unwrap_or(path);
    let above = fs::metadata(parent).map_err(ImageError::io("read", parent))?;
    Ok(own.dev() != above.dev())
}
