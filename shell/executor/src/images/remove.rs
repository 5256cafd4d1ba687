//! How images go: by name, by id, or because nothing uses them. Conflicts in Docker's words.

use skep_model::WallTime;

use super::digest::ContentDigest;
use super::error::ImageError;
use super::index::names_of;
use super::reference::{ImageReference, familiar};
use super::store::{ImageStore, State};

/// A container that stands on an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// Id of the image (`sha256:…`).
    pub image_id: String,
    /// The container.
    pub container_id: String,
    /// A running one protects its image even from force.
    pub running: bool,
}

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageChange {
    /// This name was taken away.
    Untagged(String),
    /// This content was removed.
    Deleted(String),
}

/// Which unused images to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// Only those without a name.
    pub dangling_only: bool,
    /// Only those made before.
    pub until: Option<WallTime>,
    /// `key` or `key=value` that must be there.
    pub labels: Vec<String>,
    /// `key` or `key=value` that must not be there.
    pub not_labels: Vec<String>,
}

/// What pruning removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// What became of which image.
    pub changes: Vec<ImageChange>,
    /// Space won.
    pub reclaimed_bytes: u64,
}

impl ImageStore {
    /// Takes a name away, and the image with its last name; an id removes the image with all its names.
    pub async fn remove(&self, name: &str, force: bool, uses: Vec<ImageUse>) -> Result<Vec<ImageChange>, ImageError> {
        let name = name.to_owned();
        self.blocking(move |store| {
            let changes = store.change(|state| remove_one(state, &name, force, &uses))?;
            store.sweep()?;
            Ok(changes)
        })
        .await
    }

    /// Removes the images that no container stands on (see the request), and layers that no image has.
    pub async fn prune(&self, request: PruneRequest, uses: Vec<ImageUse>) -> Result<PruneReport, ImageError> {
        self.blocking(move |store| {
            let changes = store.change(|state| Ok(prune_all(state, &request, &uses)))?;
            Ok(PruneReport { changes, reclaimed_bytes: store.sweep()? })
        })
        .await
    }
}

fn remove_one(state: &mut State, name: &str, force: bool, uses: &[ImageUse]) -> Result<Vec<ImageChange>, ImageError> {
    let id = state.index.find(name)?;
    let tags = names_of(&state.index.tags, &id);
    let digests = names_of(&state.index.digests, &id);
    let by_name = ImageReference::parse(name).ok().filter(|reference| state.index.find_reference(reference).is_some());
    if let Some(reference) = &by_name {
        let chosen = match &reference.digest {
            Some(digest) => reference.with_digest(digest),
            None => reference.tagged().unwrap_or_default(),
        };
        let repository = format!("{}@", reference.name());
        let keeps_a_name = tags.iter().any(|tag| *tag != chosen)
            || digests
                .iter()
                .any(|digest| *digest != chosen && !(reference.digest.is_none() && digest.starts_with(&repository)));
        if keeps_a_name {
            return Ok(untag(state, &chosen, &tags, &digests));
        }
    } else if !force && repositories(&tags, &digests) > 1 {
        return Err(conflict(&id, "must be forced", "image is referenced in multiple repositories"));
    }
    refuse_if_used(&id, by_name.is_some(), force, uses)?;
    Ok(delete(state, &id))
}

/// Takes one name away; with the last tag of a repository go its digest references.
fn untag(state: &mut State, chosen: &str, tags: &[String], digests: &[String]) -> Vec<ImageChange> {
    let repository = chosen.rsplit_once('@').or_else(|| chosen.rsplit_once(':')).map_or(chosen, |(name, _)| name);
    let (tag_start, digest_start) = (format!("{repository}:"), format!("{repository}@"));
    let mut gone = vec![chosen.to_owned()];
    let last_tag =
        tags.iter().any(|tag| tag == chosen) && !tags.iter().any(|tag| tag != chosen && tag.starts_with(&tag_start));
    if last_tag {
        gone.extend(digests.iter().filter(|digest| digest.starts_with(&digest_start)).cloned());
    }
    for name in &gone {
        state.index.tags.remove(name);
        state.index.digests.remove(name);
    }
    gone.iter().map(|name| ImageChange::Untagged(familiar(name))).collect()
}

fn repositories(tags: &[String], digests: &[String]) -> usize {
    let tag_names = tags.iter().filter_map(|tag| tag.rsplit_once(':'));
    let digest_names = digests.iter().filter_map(|digest| digest.split_once('@'));
    tag_names.chain(digest_names).map(|(name, _)| name).collect::<std::collections::BTreeSet<_>>().len()
}

fn refuse_if_used(id: &ContentDigest, by_name: bool, force: bool, uses: &[ImageUse]) -> Result<(), ImageError> {
    let id_text = id.to_string();
    let short = |container: &str| container.chars().take(12).collect::<String>();
    for used in uses.iter().filter(|used| used.image_id == id_text) {
        let container = short(&used.container_id);
        if used.running {
            let reason = format!("image is being used by running container {container}");
            return Err(conflict(id, "cannot be forced", &reason));
        }
        if !force {
            let kind = if by_name { "container" } else { "stopped container" };
            let reason = format!("image is being used by {kind} {container}");
            return Err(conflict(id, "must be forced", &reason));
        }
    }
    Ok(())
}

fn conflict(id: &ContentDigest, force: &str, reason: &str) -> ImageError {
    ImageError::Conflict(format!("unable to delete {} ({force}) - {reason}", id.short()))
}

pub(super) fn delete(state: &mut State, id: &ContentDigest) -> Vec<ImageChange> {
    let names = state.index.forget(id);
    let untagged = names.into_iter().map(ImageChange::Untagged);
    untagged.chain([ImageChange::Deleted(id.to_string())]).collect()
}

fn prune_all(state: &mut State, request: &PruneRequest, uses: &[ImageUse]) -> Vec<ImageChange> {
    let ids: Vec<ContentDigest> = state.index.images.keys().cloned().collect();
    let mut changes = Vec::new();
    for id in ids {
        let used = uses.iter().any(|used| used.image_id == id.to_string())
            || state.rootfs.values().any(|record| record.image == id);
        let Some(image) = state.image(&id).filter(|_| !used) else { continue };
        let named = !image.repo_tags.is_empty() || !image.repo_digests.is_empty();
        let has = |label: &String| match label.split_once('=') {
            Some((key, value)) => image.config.labels.get(key).is_some_and(|found| found == value),
            None => image.config.labels.contains_key(label),
        };
        let wanted = !(request.dangling_only && named)
            && request.until.is_none_or(|until| image.created_at < until)
            && request.labels.iter().all(has)
            && !request.not_labels.iter().any(has);
        if wanted {
            changes.extend(delete(state, &id));
        }
    }
    changes
}
