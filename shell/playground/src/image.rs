//! An image made from this very program: no registry, no build tool.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// A root file system archive with the program, the libraries it is linked with, and nothing else.
pub fn archive(binary: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let tree = directory.join("web");
    let archive = directory.join("web.tar");
    for folder in ["bin", "tmp", "etc"] {
        std::fs::create_dir_all(tree.join(folder))?;
    }
    std::fs::copy(binary, tree.join("bin/skep")).context("copying the program")?;
    for library in libraries(binary)? {
        let inside = tree.join(library.strip_prefix("/").unwrap_or(&library));
        if let Some(folder) = inside.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::copy(&library, &inside).with_context(|| format!("copying {}", library.display()))?;
    }
    let packed = Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".").status().context("tar")?;
    if !packed.success() {
        bail!("tar failed");
    }
    Ok(archive)
}

/// What the dynamic loader would load, by absolute path, the loader included.
fn libraries(binary: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(binary).output().context("ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(words.map(PathBuf::from).collect())
}
