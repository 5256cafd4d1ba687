//! What the store knows, and the one way in which anything becomes or ceases to be part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use skep_model::engine::Image;

use super::config::ConfigDocument;
use super::digest::ContentDigest;
use super::error::ImageError;
use super::index::{ImageRecord, Index, replace_file};
use super::reference::ImageReference;
use super::rootfs::RootfsRecord;
use super::unpack::remove_tree;

/// What an operator may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// `host:port` of registries to ask over plain HTTP. Loopback ones always are.
    pub insecure_registries: Vec<String>,
    /// PEM certificates to trust beside the system's.
    pub extra_roots: Vec<Vec<u8>>,
}

/// The images of this node. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct ImageStore {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) root: PathBuf,
    pub(super) options: ImageOptions,
    state: Mutex<State>,
    /// One maker per layer; the others wait and find it.
    layer_locks: Mutex<BTreeMap<ContentDigest, Weak<tokio::sync::Mutex<()>>>>,
    temporary: AtomicU64,
}

/// Guarded by one lock that is never held across an await.
#[derive(Default)]
pub(super) struct State {
    pub(super) index: Index,
    /// Parsed configs of the index's images.
    pub(super) documents: BTreeMap<ContentDigest, ConfigDocument>,
    /// Containers' file systems and the layers below them.
    pub(super) rootfs: BTreeMap<String, RootfsRecord>,
    /// Layers that unfinished pulls and loads count on.
    pinned: BTreeMap<ContentDigest, usize>,
}

/// Keeps layers from being swept until the image that needs them is in the index.
pub(super) struct Pins {
    store: ImageStore,
    layers: Vec<ContentDigest>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut state = self.store.state();
        for layer in &self.layers {
            if let Some(count) = state.pinned.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    state.pinned.remove(layer);
                }
            }
        }
    }
}

/// A path below `tmp` that is gone when this is dropped, whatever became of it.
pub(super) struct Temporary(pub(super) PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let removed = match fs::symlink_metadata(&self.0) {
            Ok(found) if found.is_dir() => remove_tree(&self.0),
            Ok(_) => fs::remove_file(&self.0),
            Err(_) => Ok(()),
        };
        if let Err(error) = removed {
            tracing::warn!(path = %self.0.display(), %error, "left in the image store until the next start");
        }
    }
}

/// An image whose layers are all in place, about to be entered into the index.
pub(super) struct NewImage {
    pub(super) config: Vec<u8>,
    pub(super) manifest: Option<Vec<u8>>,
    /// Names to give it: tags and digest references in full form.
    pub(super) tags: Vec<String>,
    pub(super) digests: Vec<String>,
}

impl ImageStore {
    /// Opens (or makes) the store below `root`. Leftovers of a crash are removed; an image that lost a part is dropped
    /// with a warning, to be pulled again.
    pub fn open(root: &Path, options: ImageOptions) -> Result<Self, ImageError> {
        if root.to_string_lossy().contains([',', ':', '\\', '"']) {
            let reason = format!("the path {} has a character that mount options give a meaning to", root.display());
            return Err(ImageError::InvalidImage(reason));
        }
        remove_tree(&root.join("tmp")).map_err(ImageError::io("empty", &root.join("tmp")))?;
        for directory in ["", "blobs", "blobs/sha256", "layers", "links", "rootfs", "tmp"] {
            let path = root.join(directory);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(ImageError::io("make", &path))?;
        }
        let root = fs::canonicalize(root).map_err(ImageError::io("resolve", root))?;
        let shared = Shared {
            root,
            options,
            state: Mutex::default(),
            layer_locks: Mutex::default(),
            temporary: AtomicU64::new(0),
        };
        let store = Self { shared: Arc::new(shared) };
        store.load_state()?;
        Ok(store)
    }

    /// One image by id, prefix of an id, `name[:tag]` or `name@digest`.
    pub fn get(&self, name: &str) -> Result<Image, ImageError> {
        let state = self.state();
        let id = state.index.find(name)?;
        state.image(&id).ok_or_else(|| ImageError::NotFound(name.to_owned()))
    }

    /// All images, newest first.
    pub fn list(&self) -> Vec<Image> {
        let state = self.state();
        let mut images: Vec<Image> = state.index.images.keys().filter_map(|id| state.image(id)).collect();
        images.sort_by_key(|image| std::cmp::Reverse(image.created_at));
        images
    }

    /// Gives an image a further name; a name that stood for another image moves.
    pub async fn tag(&self, source: &str, target: &str) -> Result<(), ImageError> {
        let reference = ImageReference::parse(target)?;
        let Some(name) = reference.tagged().filter(|_| reference.digest.is_none()) else {
            let reason = "refusing to create a tag with a digest reference".to_owned();
            return Err(ImageError::InvalidReference { reference: target.to_owned(), reason });
        };
        let source = source.to_owned();
        self.blocking(move |store| {
            store.change(|state| {
                let id = state.index.find(&source)?;
                state.index.tags.insert(name, id);
                Ok(())
            })
        })
        .await
    }

    /// Runs disk work on a thread that may wait.
    pub(super) async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<R, ImageError> + Send + 'static,
    ) -> Result<R, ImageError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(&store)).await?
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a state that was whole after each statement.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index, durably or not at all.
    pub(super) fn change<R>(&self, edit: impl FnOnce(&mut State) -> Result<R, ImageError>) -> Result<R, ImageError> {
        let mut state = self.state();
        let before = state.index.clone();
        let result = edit(&mut state).and_then(|result| state.index.save(&self.index_path()).map(|()| result));
        if result.is_err() {
            state.index = before;
        }
        result
    }

    /// Enters an image: its documents first, then its names, at once.
    pub(super) fn enter(&self, image: NewImage) -> Result<Image, ImageError> {
        let document = ConfigDocument::parse(&image.config)?;
        let diff_ids = document.rootfs.diff_ids.clone();
        let mut size_bytes = 0;
        for diff_id in &diff_ids {
            size_bytes += self.layer_size(diff_id)?;
        }
        self.change(|state| {
            // Under the lock, or a sweep could take them before the index names them.
            let id = self.write_blob(&image.config)?;
            self.touch(&id);
            let manifest = image.manifest.as_deref().map(|bytes| self.write_blob(bytes)).transpose()?;
            let manifest = manifest.or_else(|| state.index.images.get(&id).and_then(|record| record.manifest.clone()));
            state.index.images.insert(id.clone(), ImageRecord { manifest, diff_ids, size_bytes });
            state.index.tags.extend(image.tags.into_iter().map(|name| (name, id.clone())));
            state.index.digests.extend(image.digests.into_iter().map(|name| (name, id.clone())));
            state.documents.insert(id.clone(), document);
            state.image(&id).ok_or_else(|| ImageError::NotFound(id.to_string()))
        })
    }

    /// Counts on these layers until the result is dropped.
    pub(super) fn pin(&self, layers: &[ContentDigest]) -> Pins {
        let mut state = self.state();
        for layer in layers {
            *state.pinned.entry(layer.clone()).or_default() += 1;
        }
        Pins { store: self.clone(), layers: layers.to_vec() }
    }

    /// The lock of one layer's making.
    pub(super) fn layer_lock(&self, layer: &ContentDigest) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.shared.layer_locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(layer).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(layer.clone(), Arc::downgrade(&lock));
        lock
    }

    /// A fresh name below `tmp`.
    pub(super) fn temporary(&self) -> Temporary {
        let number = self.shared.temporary.fetch_add(1, Ordering::Relaxed);
        Temporary(self.shared.root.join("tmp").join(number.to_string()))
    }

    pub(super) fn blob_path(&self, digest: &ContentDigest) -> PathBuf {
        self.shared.root.join("blobs/sha256").join(digest.hex())
    }

    pub(super) fn write_blob(&self, bytes: &[u8]) -> Result<ContentDigest, ImageError> {
        let digest = ContentDigest::of(bytes);
        let path = self.blob_path(&digest);
        if !path.exists() {
            replace_file(&path, bytes)?;
        }
        Ok(digest)
    }

    /// Removes layers and blobs that no image, container or pull needs; returns the bytes won.
    pub(super) fn sweep(&self) -> Result<u64, ImageError> {
        let mut reclaimed = 0;
        let mut doomed = Vec::new();
        {
            let mut state = self.state();
            let State { index, documents, .. } = &mut *state;
            documents.retain(|id, _| index.images.contains_key(id));
            let needed = state.needed_layers();
            for layer in self.layers_on_disk()?.into_iter().filter(|layer| !needed.contains(layer)) {
                reclaimed += self.layer_size(&layer).unwrap_or(0);
                doomed.push(self.retire_layer(&layer)?);
            }
            let needed = state.index.blobs();
            for blob in
                digests_in(&self.shared.root.join("blobs/sha256"))?.into_iter().filter(|blob| !needed.contains(blob))
            {
                let path = self.blob_path(&blob);
                fs::remove_file(&path).map_err(ImageError::io("remove", &path))?;
            }
        }
        // The slow part, after the lock: what is here is out of the store already.
        drop(doomed);
        Ok(reclaimed)
    }

    fn index_path(&self) -> PathBuf {
        self.shared.root.join("index.json")
    }

    fn load_state(&self) -> Result<(), ImageError> {
        let mut index = Index::load(&self.index_path())?;
        let mut documents = BTreeMap::new();
        let ids: Vec<ContentDigest> = index.images.keys().cloned().collect();
        for id in ids {
            match self.read_whole_image(&id) {
                Ok(document) => {
                    documents.insert(id, document);
                }
                Err(error) => {
                    let names = index.forget(&id);
                    tracing::warn!(%id, ?names, %error, "an image lost a part and is dropped; it will be pulled again");
                }
            }
        }
        let rootfs = self.load_rootfs_records()?;
        *self.state() = State { index, documents, rootfs, pinned: BTreeMap::new() };
        Ok(())
    }

    fn read_whole_image(&self, id: &ContentDigest) -> Result<ConfigDocument, ImageError> {
        let path = self.blob_path(id);
        let bytes = fs::read(&path).map_err(ImageError::io("read", &path))?;
        let actual = ContentDigest::of(&bytes);
        if actual != *id {
            return Err(ImageError::DigestMismatch { what: "config", expected: id.clone(), actual });
        }
        let document = ConfigDocument::parse(&bytes)?;
        for diff_id in &document.rootfs.diff_ids {
            self.layer_size(diff_id)?;
        }
        Ok(document)
    }
}

impl State {
    /// As the model has it, names and size included.
    pub(super) fn image(&self, id: &ContentDigest) -> Option<Image> {
        let mut image = self.documents.get(id)?.to_image(id);
        image.size_bytes = self.index.images.get(id)?.size_bytes;
        image.repo_tags = self.index.tags_of(id);
        image.repo_digests = self.index.digests_of(id);
        Some(image)
    }

    fn needed_layers(&self) -> BTreeSet<ContentDigest> {
        let mounted = self.rootfs.values().flat_map(|record| record.diff_ids.iter().cloned());
        self.index.layers().into_iter().chain(mounted).chain(self.pinned.keys().cloned()).collect()
    }
}

/// Names in a directory that are digests (hexadecimal part); others are not ours to judge.
pub(super) fn digests_in(directory: &Path) -> Result<Vec<ContentDigest>, ImageError> {
    let mut digests = Vec::new();
    for entry in fs::read_dir(directory).map_err(ImageError::io("list", directory))? {
        let entry = entry.map_err(ImageError::io("list", directory))?;
        if let Ok(digest) = format!("sha256:{}", entry.file_name().to_string_lossy()).parse() {
            digests.push(digest);
        }
    }
    Ok(digests)
}
