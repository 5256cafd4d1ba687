//! A container's working directory is made where the image has none, as Docker does.

use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};

use crate::error::RuntimeError;
use crate::spec::{PlannedMount, open_inside};

/// Makes what is missing of `path` in the root file system, owned by root. What lies below a mount is made by the
/// container's first process, when the mount is there.
pub fn make(rootfs: &Path, path: &str, mounts: &[PlannedMount]) -> Result<(), RuntimeError> {
    let path = Path::new(path);
    if mounts.iter().any(|mount| path.starts_with(&mount.target)) {
        return Ok(());
    }
    let failed = |errno: Errno| RuntimeError::file("make the working directory", path)(errno.into());
    let mut made = String::from("/");
    for name in path.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    }) {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let parent = open_inside(rootfs, &made, flags).map_err(failed)?;
        made = format!("{}/{name}", made.trim_end_matches('/'));
        match open_inside(rootfs, &made, OFlag::O_PATH) {
            Ok(_) => {}
            Err(Errno::ENOENT) => {
                match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
                    // A link that leads nowhere: the program will be told.
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(failed(errno)),
                }
            }
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_made_and_only_inside() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("srv")).expect("made");
        std::os::unix::fs::symlink("/srv", root.path().join("link")).expect("linked");
        make(root.path(), "/link/a/b", &[]).expect("made");
        assert!(root.path().join("srv/a/b").is_dir());
        make(root.path(), "/link/a/b", &[]).expect("there already");
        make(root.path(), "/", &[]).expect("the root itself");
        let mount = PlannedMount { target: "/data".to_owned(), ..Default::default() };
        make(root.path(), "/data/deep", &[mount]).expect("left to the container");
        assert!(!root.path().join("data").exists());
    }
}
