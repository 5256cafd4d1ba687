//! A fresh volume gets what the image has at its place, owners and modes included.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

/// Directories below each other that are copied.
const DEPTH_MAX: usize = 64;

/// Copies what is in `from` into the directory `to`, which takes its owner and mode.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    copy_directory(from, to, DEPTH_MAX)
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
        copy(&data, &volume).expect("copied");
        assert_eq!(fs::read_to_string(volume.join("sub/file")).expect("there"), "text");
        assert_eq!(fs::read_link(volume.join("link")).expect("a link"), Path::new("/etc/passwd"));
    }
}
