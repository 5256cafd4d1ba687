//! The image that both products run: Debian's static busybox with its applets, in an archive for `docker import`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// The archive's bytes; files are made below `directory`.
pub fn busybox(directory: &Path) -> anyhow::Result<Vec<u8>> {
    let tree = directory.join("busybox");
    let bin = tree.join("bin");
    for folder in ["bin", "tmp", "etc", "proc", "sys", "dev"] {
        std::fs::create_dir_all(tree.join(folder))?;
    }
    std::fs::copy("/bin/busybox", bin.join("busybox")).context("/bin/busybox (package busybox-static)")?;
    for applet in ["sh", "sleep"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    let output = Command::new("tar").arg("-C").arg(&tree).args(["-cf", "-", "."]).output().context("tar")?;
    if !output.status.success() {
        bail!("tar: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
