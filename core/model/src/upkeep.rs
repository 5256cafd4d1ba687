//! What goes when a node's disk fills: ended containers' file systems first, then images that nothing uses, those that
//! were used longest ago before others. A pure function over what the runtime sees; the runtime does it.

use crate::time::WallTime;

/// When something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpkeepPolicy {
    /// Collecting begins where the file system is fuller than this; 100 for never.
    pub above_percent: u8,
    /// … and goes on until it is not fuller than this.
    pub until_percent: u8,
    /// What was in use more recently than this stays whatever happens, milliseconds.
    pub age_min_ms: u64,
}

impl Default for UpkeepPolicy {
    /// As kubelet has it, but for the age: a service that is scaled to nothing for a while finds its image again.
    fn default() -> Self {
        Self { above_percent: 85, until_percent: 80, age_min_ms: 60 * 60 * 1000 }
    }
}

/// How full a file system is. What it keeps back for root is neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// What is taken.
    pub used_bytes: u64,
    /// What may still be written.
    pub free_bytes: u64,
}

impl DiskUsage {
    fn total(self) -> u128 {
        u128::from(self.used_bytes) + u128::from(self.free_bytes)
    }

    /// As `df` says it, rounded up: 0 to 100.
    pub fn percent(self) -> u8 {
        let percent = (u128::from(self.used_bytes) * 100).div_ceil(self.total().max(1));
        u8::try_from(percent).unwrap_or(100)
    }

    /// How much must go until it is not fuller than this.
    fn excess_bytes(self, percent: u8) -> u64 {
        let wanted_free = self.total() * u128::from(100u8.saturating_sub(percent)) / 100;
        u64::try_from(wanted_free).unwrap_or(u64::MAX).saturating_sub(self.free_bytes)
    }
}

/// What a container that has ended still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The container.
    pub container_id: String,
    /// When it ended.
    pub ended_at: WallTime,
}

/// An image of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// Its id.
    pub id: String,
    /// What removing it wins at least: layers that no other image has.
    pub size_bytes: u64,
    /// When a container was last made of it, or it came here.
    pub used_at: WallTime,
    /// A container stands on it, or an assigned task names it.
    pub in_use: bool,
    /// A registry has it, or it has lost its names. An image that was loaded or imported under a name that it still
    /// has may be the only one of its kind, and goes only when somebody says so.
    pub replaceable: bool,
}

/// What goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// Containers whose file systems go; their records and logs stay as long as their tasks.
    pub containers: Vec<String>,
    /// Ids of images.
    pub images: Vec<String>,
}

/// Chooses what goes now. What a container wrote is measured only when it is about to go, as that takes time.
pub fn collect(
    policy: UpkeepPolicy,
    disk: DiskUsage,
    now: WallTime,
    mut remains: Vec<Remains>,
    mut images: Vec<StoredImage>,
    written_bytes: impl Fn(&Remains) -> u64,
) -> Collection {
    let mut collection = Collection::default();
    if disk.percent() <= policy.above_percent {
        return collection;
    }
    let age = i64::try_from(u128::from(policy.age_min_ms) * 1_000_000).unwrap_or(i64::MAX);
    let old = |at: WallTime| now.0.saturating_sub(at.0) >= age;
    let excess = disk.excess_bytes(policy.until_percent.min(policy.above_percent));
    let mut won = 0u64;
    remains.sort_by_key(|remains| remains.ended_at);
    for remains in remains.into_iter().filter(|remains| old(remains.ended_at)) {
        if won >= excess {
            return collection;
        }
        won = won.saturating_add(written_bytes(&remains));
        collection.containers.push(remains.container_id);
    }
    images.sort_by_key(|image| image.used_at);
    for image in images.into_iter().filter(|image| image.replaceable && !image.in_use && old(image.used_at)) {
        if won >= excess {
            return collection;
        }
        won = won.saturating_add(image.size_bytes);
        collection.images.push(image.id);
    }
    collection
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const HOUR: i64 = 3600 * 1_000_000_000;

    fn disk(free: u64) -> DiskUsage {
        DiskUsage { used_bytes: (100 - free) * GIB, free_bytes: free * GIB }
    }

    fn image(id: &str, used_hours_ago: i64, in_use: bool) -> StoredImage {
        StoredImage {
            id: id.to_owned(),
            size_bytes: 2 * GIB,
            used_at: WallTime(-used_hours_ago * HOUR),
            in_use,
            replaceable: true,
        }
    }

    fn images() -> Vec<StoredImage> {
        vec![image("new", 0, false), image("old", 9, false), image("older", 99, false), image("used", 999, true)]
    }

    fn remains(id: &str, ended_hours_ago: i64) -> Remains {
        Remains { container_id: id.to_owned(), ended_at: WallTime(-ended_hours_ago * HOUR) }
    }

    fn collected(free: u64, remains: Vec<Remains>) -> (Vec<String>, Vec<String>) {
        let chosen = collect(UpkeepPolicy::default(), disk(free), WallTime(0), remains, images(), |_| GIB);
        (chosen.containers, chosen.images)
    }

    #[test]
    fn a_disk_with_room_keeps_everything() {
        assert_eq!(collected(15, vec![remains("dead", 99)]), (vec![], vec![]));
    }

    #[test]
    fn what_was_used_longest_ago_goes_until_there_is_room() {
        assert_eq!(collected(14, vec![]).1, ["older", "old"], "6 GiB are wanted, and no more can go");
        let chosen = collect(
            UpkeepPolicy { until_percent: 85, ..Default::default() },
            disk(14),
            WallTime(0),
            vec![],
            images(),
            |_| GIB,
        );
        assert_eq!(chosen.images, ["older"], "1 GiB is wanted");
    }

    #[test]
    fn what_no_registry_has_stays() {
        let mut loaded = image("loaded", 99, false);
        loaded.replaceable = false;
        let chosen = collect(UpkeepPolicy::default(), disk(0), WallTime(0), vec![], vec![loaded], |_| GIB);
        assert_eq!(chosen, Collection::default());
    }

    #[test]
    fn the_remains_of_containers_go_first() {
        let dead = vec![remains("dead", 2), remains("long dead", 50), remains("just ended", 0)];
        assert_eq!(
            collected(14, dead),
            (vec!["long dead".to_owned(), "dead".to_owned()], vec!["older".to_owned(), "old".to_owned()])
        );
        let many = (0..9).map(|hour| remains(&format!("dead{hour}"), 20 - hour)).collect();
        assert_eq!(collected(14, many).1, Vec::<String>::new(), "six of them were enough");
    }

    #[test]
    fn a_limit_of_a_hundred_is_never_reached() {
        let never = UpkeepPolicy { above_percent: 100, ..Default::default() };
        assert_eq!(
            collect(never, disk(0), WallTime(0), vec![remains("dead", 99)], images(), |_| GIB),
            Collection::default()
        );
        assert_eq!((disk(0).percent(), disk(100).percent(), DiskUsage::default().percent()), (100, 0, 0));
    }
}
