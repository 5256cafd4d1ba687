//! Cluster volumes: a mount of one fits where its volume is published and free for this use.

use std::collections::BTreeMap;

use skep_model::pb::types::mount;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::volume_access_mode::Sharing;
use skep_model::pb::types::volume_publish_status::State;
use skep_model::pb::types::volume_spec::VolumeAvailability;
use skep_model::pb::types::{Mount, VolumeAttachment};
use skep_model::{NodeId, Task, Volume};
use skep_store::Read;

/// Before the name of a group in a mount's source.
const GROUP_PREFIX: &str = "group:";

/// How many tasks use a volume, and how many of them write.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    tasks: u32,
    writers: u32,
}

/// Which volumes are in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct VolumeUses(BTreeMap<String, Use>);

impl VolumeUses {
    /// Notes that a task uses its volumes, or no longer does.
    pub(crate) fn hold(&mut self, task: &Task, in_use: bool) {
        for attachment in &task.extras.volumes {
            let mount = cluster_mounts(task).find(|mount| mount.target == attachment.target);
            let writes = u32::from(mount.is_none_or(|mount| !mount.readonly));
            let entry = self.0.entry(attachment.id.clone()).or_default();
            if in_use {
                *entry = Use { tasks: entry.tasks + 1, writers: entry.writers + writes };
            } else {
                let tasks = entry.tasks.saturating_sub(1);
                *entry = Use { tasks, writers: entry.writers.saturating_sub(writes) };
            }
        }
    }

    /// The volumes for all mounts of the task on the node, or `None` if one cannot be had.
    pub(crate) fn choose(&self, volumes: &[Candidate], node: &NodeId, task: &Task) -> Option<Vec<VolumeAttachment>> {
        let attach = |mount: &Mount| {
            let fitting = volumes.iter().find(|volume| volume.answers(mount) && self.is_free(volume, node, mount))?;
            let (source, target) = (mount.source.clone(), mount.target.clone());
            Some(VolumeAttachment { id: fitting.id.clone(), source, target })
        };
        cluster_mounts(task).map(attach).collect()
    }

    fn is_free(&self, volume: &Candidate, node: &NodeId, mount: &Mount) -> bool {
        let used = self.0.get(&volume.id).copied().unwrap_or_default();
        let shared = match volume.sharing {
            Sharing::None => used.tasks == 0,
            Sharing::ReadOnly => mount.readonly,
            Sharing::OneWriter => mount.readonly || used.writers == 0,
            Sharing::All => true,
        };
        shared && volume.published_on.iter().any(|published| published == node.as_str())
    }
}

/// A volume that may be mounted.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    id: String,
    name: String,
    group: String,
    sharing: Sharing,
    published_on: Vec<String>,
}

impl Candidate {
    fn answers(&self, mount: &Mount) -> bool {
        match mount.source.strip_prefix(GROUP_PREFIX) {
            Some(group) => self.group == group,
            None => self.name == mount.source,
        }
    }

    fn of(volume: &Volume) -> Option<Self> {
        let spec = volume.body.value.spec.as_ref()?;
        let statuses = volume.body.value.publish_status.iter();
        let published = statuses.filter(|status| status.state() == State::Published);
        (spec.availability() == VolumeAvailability::Active).then(|| Self {
            id: volume.id.to_string(),
            name: spec.annotations.as_ref().map(|annotations| annotations.name.clone()).unwrap_or_default(),
            group: spec.group.clone(),
            sharing: spec.access_mode.as_ref().map_or(Sharing::None, |mode| mode.sharing()),
            published_on: published.map(|status| status.node_id.clone()).collect(),
        })
    }
}

/// The volumes that a task's mounts may choose from; `None` if it mounts none.
pub(crate) fn candidates(read: &impl Read, task: &Task) -> Option<Vec<Candidate>> {
    cluster_mounts(task).next()?;
    Some(read.volumes().iter().filter_map(|volume| Candidate::of(volume)).collect())
}

fn cluster_mounts(task: &Task) -> impl Iterator<Item = &Mount> {
    let container = match &task.spec.runtime {
        Some(Runtime::Container(container)) => Some(container),
        _ => None,
    };
    let mounts = container.map(|container| container.mounts.as_slice()).unwrap_or_default();
    mounts.iter().filter(|mount| mount.r#type() == mount::Type::Cluster)
}
