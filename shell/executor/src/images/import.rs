//! `docker import`: one archive becomes the only layer of a new image.

use std::path::Path;

use serde_json::json;
use skep_model::engine::Image;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::changes;
use super::config::{ConfigDocument, RootFs, RunConfig, now_text};
use super::error::ImageError;
use super::platform::Platform;
use super::reference::ImageReference;
use super::store::{ImageStore, NewImage, Temporary};

/// Largest archive that a client may send to `import` or `load`.
pub const MAX_UPLOAD_BYTES: u64 = 128 << 30;
const UPLOAD_BUFFER_BYTES: usize = 256 << 10;

/// What to make of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportRequest {
    /// `name:tag` to give it; empty for none.
    pub reference: String,
    /// Dockerfile instructions, e.g. `CMD ["/app"]`.
    pub changes: Vec<String>,
    /// Comment.
    pub message: String,
    /// `os/architecture`; empty for the host's.
    pub platform: String,
}

impl ImageStore {
    /// Makes an image of one layer from an archive of a root file system, compressed or not.
    pub async fn import(
        &self,
        archive: impl AsyncRead + Send + Unpin,
        request: ImportRequest,
    ) -> Result<Image, ImageError> {
        let mut tags = Vec::new();
        if !request.reference.is_empty() {
            let reference = ImageReference::parse(&request.reference)?;
            if reference.digest.is_some() {
                let reason = "an import cannot be given a digest".to_owned();
                return Err(ImageError::InvalidReference { reference: request.reference, reason });
            }
            tags.extend(reference.tagged());
        }
        let platform = Platform::parse(&request.platform)?;
        let mut config = RunConfig::default();
        changes::apply(&mut config, &request.changes)?;
        let upload = self.receive(archive).await?;
        self.blocking(move |store| {
            let file = std::fs::File::open(&upload.0).map_err(ImageError::io("open", &upload.0))?;
            let layer = store.unpack_layer(file)?;
            drop(upload);
            let created = now_text();
            let document = ConfigDocument {
                created: Some(created.clone()),
                architecture: platform.architecture,
                os: platform.os,
                config: Some(config),
                rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![layer.diff_id.clone()] },
                history: Some(vec![json!({ "created": created, "comment": request.message })]),
                ..ConfigDocument::default()
            };
            let _pins = store.pin(&document.rootfs.diff_ids);
            store.adopt_layer(layer)?;
            let config = serde_json::to_vec(&document).map_err(|source| ImageError::Json { what: "config", source })?;
            store.enter(NewImage { config, manifest: None, tags, digests: Vec::new() })
        })
        .await
    }

    /// Puts what a client sends on disk first: archives are read more than once, and a client may be slow.
    pub(super) async fn receive(&self, mut archive: impl AsyncRead + Send + Unpin) -> Result<Temporary, ImageError> {
        let target = self.temporary();
        let mut file = tokio::fs::File::create(&target.0).await.map_err(ImageError::io("create", &target.0))?;
        let mut buffer = vec![0; UPLOAD_BUFFER_BYTES];
        let mut received = 0_u64;
        loop {
            let count = archive.read(&mut buffer).await.map_err(ImageError::Upload)?;
            if count == 0 {
                break;
            }
            received += count as u64;
            if received > MAX_UPLOAD_BYTES {
                return Err(ImageError::TooLarge { what: "archive".to_owned(), limit_bytes: MAX_UPLOAD_BYTES });
            }
            write(&mut file, &buffer[..count], &target.0).await?;
        }
        file.flush().await.map_err(ImageError::io("write", &target.0))?;
        Ok(target)
    }
}

async fn write(file: &mut tokio::fs::File, bytes: &[u8], path: &Path) -> Result<(), ImageError> {
    file.write_all(bytes).await.map_err(ImageError::io("write", path))
}
