//! Volumes of this node: directories below the data root, with what their options mount on them.
//!
//! A volume with options is mounted for the first container that uses it and unmounted after the last one. Start
//! reading at `prepare`.

mod copy;
mod propagation;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use skep_model::Refusal;

use super::shared::held;
use crate::error::{ControllerError, RuntimeError};
use crate::spec::{LocalVolume, PlannedMount, open_inside, outside_proc};
use record::VolumeRecord;

/// Mode of a file system in memory that replaces no directory of the image.
const ANYBODY: u32 = 0o1777;

/// Volumes on which something is mounted, and the containers that use them.
#[derive(Debug, Default)]
pub struct Mounted {
    users: Mutex<BTreeMap<PathBuf, BTreeSet<String>>>,
}

impl Mounted {
    /// Counts on a container that a former daemon started.
    pub fn keep(&self, container: &str, mounts: &[PlannedMount]) {
        let mut users = held(&self.users);
        for mount in with_options(mounts) {
            users.entry(mount.source.clone()).or_default().insert(container.to_owned());
        }
    }

    /// Mounts what a volume's options say, unless another container has it mounted.
    fn take(&self, container: &str, planned: &PlannedMount, volume: &LocalVolume) -> Result<(), RuntimeError> {
        let mut users = held(&self.users);
        if !is_mount_point(&planned.source)? {
            mount_on(&planned.source, volume)?;
        }
        users.entry(planned.source.clone()).or_default().insert(container.to_owned());
        Ok(())
    }

    /// Unmounts the volumes of a container that nobody else uses.
    pub fn release(&self, container: &str, mounts: &[PlannedMount]) -> Result<(), RuntimeError> {
        let mut users = held(&self.users);
        for mount in with_options(mounts) {
            let others = users.get_mut(&mount.source).map(|users| {
                users.remove(container);
                users.len()
            });
            if others.is_none_or(|others| others == 0) {
                unmount(&mount.source)?;
                users.remove(&mount.source);
            }
        }
        Ok(())
    }
}

fn with_options(mounts: &[PlannedMount]) -> impl Iterator<Item = &PlannedMount> {
    mounts.iter().filter(|mount| !mount.driver_options.is_empty())
}

/// Makes what the mounts stand on, and says what is really bound: a volume's subpath is held by a mount of its own.
pub fn prepare(
    mounted: &Mounted,
    container: &str,
    run_directory: &Path,
    mounts: &[PlannedMount],
    rootfs: &Path,
) -> Result<Vec<PlannedMount>, ControllerError> {
    let mut effective = mounts.to_vec();
    propagation::check(mounts)?;
    for (index, mount) in effective.iter_mut().enumerate() {
        outside_proc(&mount.target, &real_place(rootfs, &mount.target)?)?;
        match mount.kind.as_str() {
            "bind" if mount.create_source => {
                fs::create_dir_all(&mount.source).map_err(RuntimeError::file("create", &mount.source))?;
            }
            "bind" if !mount.source.exists() => {
                return Err(missing_source(&mount.source).into());
            }
            "tmpfs" if !mount.options.iter().any(|option| option.starts_with("mode=")) => {
                mount.options.push(mode_of_place(rootfs, &mount.target)?);
            }
            "volume" => {
                volume(mounted, container, mount, rootfs)?;
                if !mount.subpath.is_empty() {
                    mount.source = hold_subpath(mount, &subpaths(run_directory).join(index.to_string()))?;
                }
            }
            _ => {}
        }
    }
    Ok(effective)
}

/// The image's own directory says who may use the file system in its place; where it has none, everybody may.
fn mode_of_place(rootfs: &Path, target: &str) -> Result<String, RuntimeError> {
    let directory = match open_inside(rootfs, target, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(directory) => directory,
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(format!("mode={ANYBODY:o}")),
        Err(error) => return Err(RuntimeError::file("open", target.to_owned())(error.into())),
    };
    let metadata = directory.metadata().map_err(RuntimeError::file("look at", target.to_owned()))?;
    Ok(format!("mode={:o}", metadata.permissions().mode() & 0o7777))
}

/// Docker's words for a bind of nothing.
pub fn missing_source(source: &Path) -> Refusal {
    let text = "invalid mount config for type \"bind\": bind source path does not exist";
    Refusal::invalid(format!("{text}: {}", source.display()))
}

fn volume(mounted: &Mounted, container: &str, planned: &PlannedMount, rootfs: &Path) -> Result<(), ControllerError> {
    fs::create_dir_all(&planned.source).map_err(RuntimeError::file("create", &planned.source))?;
    VolumeRecord::agree(planned)?;
    let options = crate::spec::volume_options(&planned.driver_options).map_err(Refusal::invalid)?;
    if let Some(options) = options {
        mounted.take(container, planned, &options)?;
    }
    let mut entries = fs::read_dir(&planned.source).map_err(RuntimeError::file("list", &planned.source))?;
    if !planned.copy_up || entries.next().is_some() {
        return Ok(());
    }
    let directory = match open_inside(rootfs, &planned.target, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(directory) => directory,
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(()),
        Err(error) => return Err(RuntimeError::file("open", planned.target.clone())(error.into()).into()),
    };
    let inside = PathBuf::from(format!("/proc/self/fd/{}/.", directory.as_raw_fd()));
    Ok(copy::copy(&inside, &planned.source).map_err(RuntimeError::file("copy into", &planned.source))?)
}

/// Where a target is once the image's links are followed.
fn real_place(rootfs: &Path, target: &str) -> Result<PathBuf, RuntimeError> {
    let failed = |error| RuntimeError::file("look for the mount's target", target.to_owned())(error);
    let rootfs = fs::canonicalize(rootfs).map_err(failed)?;
    let target_path = Path::new(target);
    for existing in target_path.ancestors() {
        let Ok(found) = open_inside(&rootfs, &existing.to_string_lossy(), OFlag::O_PATH) else { continue };
        let real = fs::read_link(format!("/proc/thread-self/fd/{}", found.as_raw_fd())).map_err(failed)?;
        let inside = real.strip_prefix(&rootfs).unwrap_or(&real);
        let rest = target_path.strip_prefix(existing).unwrap_or(Path::new(""));
        return Ok(Path::new("/").join(inside).join(rest));
    }
    Ok(target_path.to_owned())
}

fn subpaths(run_directory: &Path) -> PathBuf {
    run_directory.join("subpaths")
}

/// Binds the part of the volume to a place of ours. What is bound was resolved inside the volume by the kernel: a link
/// that a container puts there leads nowhere else, now or later.
fn hold_subpath(planned: &PlannedMount, place: &Path) -> Result<PathBuf, ControllerError> {
    let volume = fs::File::open(&planned.source).map_err(RuntimeError::file("open", &planned.source))?;
    let flags = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(flags);
    let wanted = planned.source.join(&planned.subpath);
    let part = openat2(&volume, planned.subpath.as_str(), how).map_err(|error| {
        Refusal::invalid(format!("cannot access path {}: {}", wanted.display(), io::Error::from(error)))
    })?;
    let part = fs::File::from(part);
    let is_directory = part.metadata().map_err(RuntimeError::file("look at", &wanted))?.is_dir();
    let parent = place.parent().unwrap_or(place);
    fs::create_dir_all(parent).map_err(RuntimeError::file("create", parent))?;
    unmount(place)?;
    let made = if is_directory { fs::create_dir_all(place) } else { fs::write(place, b"") };
    made.map_err(RuntimeError::file("create", place))?;
    let source = format!("/proc/self/fd/{}", part.as_raw_fd());
    mount(Some(source.as_str()), place, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|error| RuntimeError::file("bind a subpath to", place)(error.into()))?;
    Ok(place.to_owned())
}

/// Lets the subpaths of a container go. None there is fine.
pub fn release_subpaths(run_directory: &Path) -> Result<(), RuntimeError> {
    let directory = subpaths(run_directory);
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(RuntimeError::file("list", &directory))?,
    };
    for entry in entries {
        unmount(&entry.map_err(RuntimeError::file("list", &directory))?.path())?;
    }
    Ok(())
}

fn mount_on(place: &Path, volume: &LocalVolume) -> Result<(), RuntimeError> {
    let mut data = volume.data.clone();
    if let Some(host) = volume.host() {
        // The kernel wants a number.
        let addresses = (host, 0).to_socket_addrs().map_err(RuntimeError::host(format!("find the host {host}")))?;
        if let Some(address) = addresses.into_iter().next() {
            data.iter_mut().filter(|option| option.starts_with("addr=")).for_each(|option| {
                *option = format!("addr={}", address.ip());
            });
        }
    }
    let data = (!data.is_empty()).then(|| data.join(","));
    let result = mount(Some(volume.device.as_str()), place, Some(volume.kind.as_str()), volume.flags, data.as_deref());
    let failed = |error: nix::Error| RuntimeError::Volume {
        device: volume.device.clone(),
        place: place.to_owned(),
        source: error.into(),
    };
    result.map_err(failed)?;
    // The kernel takes no other flags together with a bind.
    let more = volume.flags - (MsFlags::MS_BIND | MsFlags::MS_REC);
    if volume.flags.contains(MsFlags::MS_BIND) && !more.is_empty() {
        let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | more;
        mount(None::<&str>, place, None::<&str>, again, None::<&str>).map_err(failed)?;
    }
    Ok(())
}

/// Until nothing is mounted there, however often it was.
fn unmount(place: &Path) -> Result<(), RuntimeError> {
    loop {
        match umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(RuntimeError::file("unmount", place)(error.into())),
        }
    }
}

/// Removes a directory of ours, unless something is still mounted in it: that may be a volume, and what is in it is
/// not ours to delete.
pub fn remove_directory(directory: &Path) -> Result<(), RuntimeError> {
    let directory = match fs::canonicalize(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(RuntimeError::file("resolve", directory))?,
    };
    if let Some(mounted) = mount_points()?.into_iter().find(|point| point.starts_with(&directory)) {
        let busy = io::Error::other(format!("{} is still mounted", mounted.display()));
        return Err(RuntimeError::file("remove", directory)(busy));
    }
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RuntimeError::file("remove", directory)(error)),
        _ => Ok(()),
    }
}

fn is_mount_point(path: &Path) -> Result<bool, RuntimeError> {
    let path = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(RuntimeError::file("resolve", path))?,
    };
    Ok(mount_points()?.contains(&path))
}

fn mount_points() -> Result<Vec<PathBuf>, RuntimeError> {
    Ok(mount_table()?.lines().filter_map(mount_point).collect())
}

fn mount_table() -> Result<String, RuntimeError> {
    let table = Path::new("/proc/thread-self/mountinfo");
    fs::read_to_string(table).map_err(RuntimeError::file("read", table))
}

/// Where a line of the table is mounted.
fn mount_point(line: &str) -> Option<PathBuf> {
    // Characters that would end a field are written as octal numbers.
    let mut point = line.split(' ').nth(4)?.to_owned();
    for (written, meant) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        point = point.replace(written, meant);
    }
    Some(PathBuf::from(point))
}

/// Unmounts what a former daemon left mounted for containers that are gone.
pub fn sweep(mounted: &Mounted, volumes: &Path) -> Result<(), RuntimeError> {
    let users = held(&mounted.users);
    for entry in fs::read_dir(volumes).map_err(RuntimeError::file("list", volumes))? {
        let data = entry.map_err(RuntimeError::file("list", volumes))?.path().join("_data");
        if !users.contains_key(&data) && is_mount_point(&data)? {
            unmount(&data)?;
        }
    }
    Ok(())
}

/// Removes the volumes that go with their container.
pub fn remove_anonymous(mounts: &[PlannedMount]) -> Result<(), RuntimeError> {
    for mount in mounts.iter().filter(|mount| mount.anonymous) {
        let Some(directory) = mount.source.parent() else { continue };
        if is_mount_point(&mount.source)? {
            // What is mounted there is not ours to delete.
            unmount(&mount.source)?;
        }
        remove_directory(directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unmounts when the test ends, however it ends.
    struct Bound(PathBuf);

    impl Drop for Bound {
        fn drop(&mut self) {
            assert!(unmount(&self.0).is_ok() || std::thread::panicking());
        }
    }

    #[test]
    fn a_directory_in_which_a_volume_is_mounted_is_not_removed() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: mounting needs root");
            return;
        }
        let root = tempfile::tempdir().expect("a directory");
        let (volume, place) = (root.path().join("a volume"), root.path().join("run 1/subpaths/0"));
        fs::create_dir_all(&place).expect("made");
        fs::create_dir(&volume).expect("made");
        fs::write(volume.join("precious"), "data").expect("written");
        let bound = Bound(place.clone());
        for _ in 0..2 {
            mount(Some(&volume), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("bound");
        }
        let run = root.path().join("run 1");
        let error = remove_directory(&run).expect_err("busy");
        assert!(error.to_string().contains("is still mounted"), "{error}");
        assert!(volume.join("precious").exists());
        release_subpaths(&run).expect("released");
        drop(bound);
        remove_directory(&run).expect("removed");
        assert!(!run.exists() && volume.join("precious").exists());
    }

    #[test]
    fn links_of_an_image_do_not_hide_where_a_target_is() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("srv")).expect("made");
        fs::create_dir(root.path().join("proc")).expect("made");
        std::os::unix::fs::symlink("/proc", root.path().join("harmless")).expect("linked");
        let place = |target: &str| real_place(root.path(), target).expect("found");
        assert_eq!(place("/srv/new/deep"), Path::new("/srv/new/deep"));
        assert_eq!(place("/harmless/sys"), Path::new("/proc/sys"));
        assert!(outside_proc("/harmless/sys", &place("/harmless/sys")).is_err());
        assert!(outside_proc("/srv", &place("/srv")).is_ok());
    }
}
