//! What upkeep asks of the store: how full the disk is, which images there are, when they were last used.
//!
//! An image was last used when its configuration's file was last touched: no index need be written when a container
//! starts.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::statvfs::statvfs;
use skep_model::WallTime;
use skep_model::upkeep::{DiskUsage, StoredImage};

use super::digest::ContentDigest;
use super::error::ImageError;
use super::remove::{PruneReport, delete};
use super::store::ImageStore;

impl ImageStore {
    /// Of the file system that the images are on.
    pub fn disk_usage(&self) -> Result<DiskUsage, ImageError> {
        let root = &self.shared.root;
        let found = statvfs(root).map_err(|errno| ImageError::io("measure", root)(errno.into()))?;
        let block = found.fragment_size();
        let used = found.blocks().saturating_sub(found.blocks_free());
        Ok(DiskUsage { used_bytes: used * block, free_bytes: found.blocks_available() * block })
    }

    /// Every image, and what removing it alone wins.
    pub fn stored_images(&self, in_use: impl Fn(&str) -> bool) -> Vec<StoredImage> {
        let state = self.state();
        let mut owners: BTreeMap<&ContentDigest, usize> = BTreeMap::new();
        for layer in state.index.images.values().flat_map(|image| &image.diff_ids) {
            *owners.entry(layer).or_default() += 1;
        }
        let one = |(id, record): (&ContentDigest, &super::index::ImageRecord)| {
            let own = record.diff_ids.iter().filter(|layer| owners.get(layer) == Some(&1));
            let named = !state.index.tags_of(id).is_empty();
            let mounted = state.rootfs.values().any(|rootfs| rootfs.image == *id);
            StoredImage {
                id: id.to_string(),
                size_bytes: own.map(|layer| self.layer_size(layer).unwrap_or(0)).sum(),
                used_at: self.used_at(id),
                in_use: mounted || in_use(&id.to_string()),
                replaceable: !named || !state.index.digests_of(id).is_empty(),
            }
        };
        state.index.images.iter().map(one).collect()
    }

    /// Removes these images with all their names, but for those on which a file system stands by now.
    pub async fn remove_images(&self, ids: Vec<String>) -> Result<PruneReport, ImageError> {
        self.blocking(move |store| {
            let changes = store.change(|state| {
                let mut changes = Vec::new();
                for id in ids.iter().filter_map(|id| id.parse::<ContentDigest>().ok()) {
                    let mounted = state.rootfs.values().any(|record| record.image == id);
                    if !mounted && state.index.images.contains_key(&id) {
                        changes.extend(delete(state, &id));
                    }
                }
                Ok(changes)
            })?;
            Ok(PruneReport { changes, reclaimed_bytes: store.sweep()? })
        })
        .await
    }

    /// Bytes that a container wrote; what cannot be read counts nothing.
    pub fn written_bytes(&self, container_id: &str) -> u64 {
        self.rootfs_path(container_id).map_or(0, |directory| size_below(&directory.join("upper")))
    }

    /// An image is used now.
    pub(super) fn touch(&self, id: &ContentDigest) {
        let path = self.blob_path(id);
        let touched = File::options()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_times(FileTimes::new().set_modified(SystemTime::now())));
        if let Err(error) = touched {
            // It then looks older than it is, and goes earlier.
            tracing::debug!(path = %path.display(), %error, "the time of an image's last use was not kept");
        }
    }

    fn used_at(&self, id: &ContentDigest) -> WallTime {
        let modified = fs::metadata(self.blob_path(id)).and_then(|metadata| metadata.modified());
        let since = modified.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        WallTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

fn size_below(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => left.push(entry.path()),
                Ok(metadata) => bytes += metadata.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{ImageOptions, ImportRequest};

    async fn imported(store: &ImageStore, name: &str) -> String {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(name.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, "file", name.as_bytes()).expect("added");
        let bytes = std::io::Cursor::new(archive.into_inner().expect("whole"));
        let request = ImportRequest { reference: name.to_owned(), ..Default::default() };
        store.import(bytes, request).await.expect("imported").id
    }

    #[tokio::test]
    async fn images_know_when_they_were_used_and_go_by_id() {
        let root = tempfile::tempdir().expect("a directory");
        let store = ImageStore::open(root.path(), ImageOptions::default()).expect("a store");
        let (first, second) = (imported(&store, "first:1").await, imported(&store, "second:1").await);
        let digest: ContentDigest = first.parse().expect("a digest");
        let long_ago = FileTimes::new().set_modified(UNIX_EPOCH);
        File::options().append(true).open(store.blob_path(&digest)).expect("open").set_times(long_ago).expect("set");
        let find = |id: &str| store.stored_images(|used| used == second).into_iter().find(|image| image.id == id);
        let old = find(&first).expect("there");
        assert_eq!((old.used_at, old.in_use, old.size_bytes), (WallTime(0), false, 7));
        assert!(find(&second).expect("there").in_use);
        assert!(!old.replaceable, "it was imported under a name that it still has");
        store.tag("second:1", "first:1").await.expect("the name moves");
        assert!(find(&first).expect("there").replaceable);
        store.touch(&digest);
        assert!(find(&first).expect("there").used_at > WallTime(0));
        let usage = store.disk_usage().expect("measured");
        assert!(usage.used_bytes > 0 && usage.free_bytes > 0);
        let report = store.remove_images(vec![first.clone(), "nonsense".to_owned()]).await.expect("removed");
        assert_eq!((report.changes.len(), report.reclaimed_bytes), (1, 7));
        assert!(store.get(&first).is_err() && store.get("second:1").is_ok());
    }
}
