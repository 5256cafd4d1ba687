//! Keeps the disk from filling: looks at it now and then, and removes what the policy chooses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use skep_model::upkeep::{Collection, DiskUsage, Remains, UpkeepPolicy, collect};
use skep_model::{WallTime, pb::types::task_spec};

use super::Runtime;
use super::shared::{Shared, held};
use crate::error::RuntimeError;
use crate::images::{ImageChange, ImageError};
use crate::shim::now_nanos;

/// Between two looks at the disk. A look costs one system call while there is room.
const LOOK_INTERVAL: Duration = Duration::from_secs(20);

fn failed(error: ImageError) -> RuntimeError {
    RuntimeError::Upkeep { message: skep_model::with_causes(&error) }
}

impl Runtime {
    /// Looks at the disk again and again, for as long as it is polled.
    pub async fn keep_disk(&self, policy: UpkeepPolicy) {
        let mut full = false;
        loop {
            // First: a daemon that starts does not know its tasks yet.
            tokio::time::sleep(LOOK_INTERVAL).await;
            match self.look_at_disk(policy).await {
                Ok((disk, chosen)) => {
                    let is_full = disk.percent() > policy.above_percent;
                    if is_full && !full && chosen == Collection::default() {
                        tracing::warn!(percent = disk.percent(), "the disk is full, and no image or container can go");
                    }
                    full = is_full;
                }
                Err(error) => tracing::warn!(%error, "the disk could not be looked after"),
            }
        }
    }

    /// One look: how full the disk was, and what went.
    pub async fn look_at_disk(&self, policy: UpkeepPolicy) -> Result<(DiskUsage, Collection), RuntimeError> {
        let before = self.shared.images.disk_usage().map_err(failed)?;
        if before.percent() <= policy.above_percent {
            return Ok((before, Collection::default()));
        }
        let shared = Arc::clone(&self.shared);
        let choosing = tokio::task::spawn_blocking(move || shared.choose(policy, before));
        let chosen = choosing.await.map_err(|_| RuntimeError::Stopped { thread: "upkeep" })?;
        if chosen == Collection::default() {
            return Ok((before, chosen));
        }
        let (images, containers) = (self.shared.images.clone(), chosen.containers.clone());
        let removing =
            tokio::task::spawn_blocking(move || containers.iter().try_for_each(|id| images.remove_rootfs(id)));
        removing.await.map_err(|_| RuntimeError::Stopped { thread: "upkeep" })?.map_err(failed)?;
        let report = self.shared.images.remove_images(chosen.images.clone()).await.map_err(failed)?;
        let name = |change: &ImageChange| match change {
            ImageChange::Untagged(name) | ImageChange::Deleted(name) => name.clone(),
        };
        let after = self.shared.images.disk_usage().map_err(failed)?;
        tracing::info!(
            before_percent = before.percent(),
            after_percent = after.percent(),
            won_bytes = after.free_bytes.saturating_sub(before.free_bytes),
            images = ?report.changes.iter().map(name).collect::<Vec<_>>(),
            containers = ?chosen.containers,
            "the disk was filling: removed images that nothing uses and file systems of ended containers"
        );
        Ok((before, chosen))
    }
}

impl Shared {
    fn choose(&self, policy: UpkeepPolicy, disk: DiskUsage) -> Collection {
        let kept: BTreeSet<String> = self.images.rootfs_containers().into_iter().collect();
        let handles: Vec<_> = held(&self.containers).values().cloned().collect();
        let mut used: BTreeSet<String> = handles.iter().map(|container| container.record().image_id).collect();
        used.extend(self.assigned_images());
        let mut remains = Vec::new();
        for container in handles.iter().filter(|container| kept.contains(&container.id)) {
            let live = container.now();
            let ended_at = live.status.as_ref().and_then(|status| status.finished_at);
            if let Some(ended_at) = ended_at.filter(|_| live.cleaned) {
                remains.push(Remains { container_id: container.id.clone(), ended_at: WallTime(ended_at) });
            }
        }
        let images = self.images.stored_images(|id| used.contains(id));
        let written = |remains: &Remains| self.images.written_bytes(&remains.container_id);
        collect(policy, disk, WallTime(now_nanos()), remains, images, written)
    }

    /// Ids of images that assigned tasks name, whether they have a container yet or not.
    fn assigned_images(&self) -> Vec<String> {
        let tasks: Vec<_> = held(&self.tasks).values().cloned().collect();
        let named = tasks.iter().filter_map(|task| match &task.order().task.spec.runtime {
            Some(task_spec::Runtime::Container(spec)) => Some(spec.image.clone()),
            _ => None,
        });
        named.filter_map(|image| self.images.get(&image).ok()).map(|image| image.id).collect()
    }
}
