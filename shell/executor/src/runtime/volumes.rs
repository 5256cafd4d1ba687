//! Volumes of this node: directories below the data root.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use skep_model::Refusal;

use crate::error::{ControllerError, RuntimeError};
use crate::spec::{PlannedMount, open_inside};

/// Directories below each other that are copied into a fresh volume.
const COPY_DEPTH_MAX: usize = 64;

/// Makes what the mounts stand on; fresh volumes get what the image has at their place.
pub fn prepare(mounts: &[PlannedMount], rootfs: &Path) -> Result<(), ControllerError> {
    for mount in mounts {
        match mount.kind.as_str() {
            "bind" if mount.create_source => {
                fs::create_dir_all(&mount.source).map_err(RuntimeError::file("create", &mount.source))?;
            }
            "bind" if !mount.source.exists() => {
                let text = "invalid mount config for type \"bind\": bind source path does not exist";
                return Err(Refusal::invalid(format!("{text}: {}", mount.source.display())).into());
            }
            "volume" => volume(mount, rootfs)?,
            _ => {}
        }
    }
    Ok(())
}

fn volume(mount: &PlannedMount, rootfs: &Path) -> Result<(), RuntimeError> {
    fs::create_dir_all(&mount.source).map_err(RuntimeError::file("create", &mount.source))?;
    let mut entries = fs::read_dir(&mount.source).map_err(RuntimeError::file("list", &mount.source))?;
    if !mount.copy_up || entries.next().is_some() {
        return Ok(());
    }
    let directory = match open_inside(rootfs, &mount.target, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(directory) => directory,
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(()),
        Err(error) => return Err(RuntimeError::file("open", mount.target.clone())(error.into())),
    };
    let inside = PathBuf::from(format!("/proc/self/fd/{}/.", directory.as_raw_fd()));
    copy_directory(&inside, &mount.source, COPY_DEPTH_MAX).map_err(RuntimeError::file("copy into", &mount.source))
}

fn copy_directory(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other("the image's directories are too deep"));
    }
    let metadata = fs::metadata(from)?;
    chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&source)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy_directory(&source, &target, depth - 1)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            lchown(&target, Some(metadata.uid()), Some(metadata.gid()))?;
        } else if kind.is_file() {
            io::copy(&mut File::open(&source)?, &mut File::create_new(&target)?)?;
            chown(&target, Some(metadata.uid()), Some(metadata.gid()))?;
            fs::set_permissions(&target, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
        } else if !(kind.is_socket() || kind.is_fifo()) {
            tracing::debug!(path = %source.display(), "a device is not copied into a volume");
        }
    }
    Ok(())
}

/// Removes the volumes that go with their container.
pub fn remove_anonymous(mounts: &[PlannedMount]) -> Result<(), RuntimeError> {
    for mount in mounts.iter().filter(|mount| mount.anonymous) {
        let Some(directory) = mount.source.parent() else { continue };
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(RuntimeError::file("remove", directory)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_volume_gets_what_the_image_has() {
        let root = tempfile::tempdir().expect("directory");
        let data = root.path().join("rootfs/data");
        fs::create_dir_all(data.join("sub")).expect("made");
        fs::write(data.join("sub/file"), "text").expect("written");
        symlink("/etc/passwd", data.join("link")).expect("linked");
        let volume = root.path().join("volume");
        fs::create_dir(&volume).expect("made");
        copy_directory(&data, &volume, COPY_DEPTH_MAX).expect("copied");
        assert_eq!(fs::read_to_string(volume.join("sub/file")).expect("there"), "text");
        assert_eq!(fs::read_link(volume.join("link")).expect("a link"), Path::new("/etc/passwd"));
    }
}
