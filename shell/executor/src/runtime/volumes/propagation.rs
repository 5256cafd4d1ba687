//! Whether mounts can travel between host and container as a bind asks: the host's mount must let them.

use std::fs;
use std::path::Path;

use skep_model::Refusal;

use super::{mount_point, mount_table};
use crate::error::{ControllerError, RuntimeError};
use crate::spec::PlannedMount;

/// Refuses binds whose source lies in a mount that does not share what is mounted below it, as Docker does: nothing
/// would ever travel.
pub fn check(mounts: &[PlannedMount]) -> Result<(), ControllerError> {
    let asks = |mount: &&PlannedMount| mount.root_propagation.is_some() && mount.source.exists();
    let mut asking = mounts.iter().filter(asks).peekable();
    if asking.peek().is_none() {
        return Ok(());
    }
    let table = mount_table()?;
    for mount in asking {
        let source = fs::canonicalize(&mount.source).map_err(RuntimeError::file("resolve", &mount.source))?;
        travels(&table, &source, mount.root_propagation.as_deref() == Some("shared"))?;
    }
    Ok(())
}

/// `table` as `/proc/self/mountinfo`: the optional fields before the dash name peer groups (proc(5)).
fn travels(table: &str, source: &Path, both_ways: bool) -> Result<(), Refusal> {
    let around = |line: &&str| mount_point(line).is_some_and(|point| source.starts_with(point));
    // The deepest, and of several on one place the last, which covers the others.
    let deepest = table.lines().filter(around).max_by_key(|line| mount_point(line).map(|at| at.components().count()));
    let Some(line) = deepest else { return Ok(()) };
    let groups = || line.split(' ').skip(6).take_while(|field| *field != "-");
    let is_shared = groups().any(|field| field.starts_with("shared:"));
    let is_slave = groups().any(|field| field.starts_with("master:"));
    if is_shared || (is_slave && !both_ways) {
        return Ok(());
    }
    let wanted = if both_ways { "shared" } else { "shared or slave" };
    let point = mount_point(line).unwrap_or_default();
    let (source, point) = (source.display(), point.display());
    Err(Refusal::invalid(format!("path {source} is mounted on {point} but it is not a {wanted} mount")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_around_the_source_must_share() {
        let table = "21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                     30 21 0:5 / /both rw shared:1 - tmpfs a rw\n\
                     31 21 0:6 / /down rw master:1 - tmpfs b rw\n\
                     32 30 0:7 / /both/a\\040b rw - tmpfs c rw\n\
                     33 21 0:8 / /down rw shared:2 master:1 - tmpfs d rw\n";
        let asked = |source: &str, both_ways| travels(table, Path::new(source), both_ways).map_err(|no| no.message);
        assert_eq!(asked("/both/x", true), Ok(()));
        assert_eq!(asked("/down", true), Ok(()));
        let no = |wanted| Err(format!("path /both/a b/x is mounted on /both/a b but it is not a {wanted} mount"));
        assert_eq!(asked("/both/a b/x", true), no("shared"));
        assert_eq!(asked("/both/a b/x", false), no("shared or slave"));
        let root = "path /srv is mounted on / but it is not a shared mount".to_owned();
        assert_eq!(asked("/srv", true), Err(root));
        let slave_alone = table.lines().take(3).collect::<Vec<_>>().join("\n");
        assert_eq!(travels(&slave_alone, Path::new("/down/x"), false).map_err(|no| no.message), Ok(()));
        assert!(travels(&slave_alone, Path::new("/down/x"), true).is_err());
    }
}
