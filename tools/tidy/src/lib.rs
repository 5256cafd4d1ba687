//! The house rules that a compiler does not know, as tests (`tests/house.rs`): floors, file sizes, headers, purity.
//!
//! It reads the tree as text and must never depend on another crate of the project. Start reading at `tests/house.rs`.

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file below `directory` with the extension, in a stable order; build output is left out.
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != "target" && !name.to_string_lossy().starts_with('.') {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A crate of the workspace as its manifest describes it.
pub struct Member {
    /// Package name.
    pub name: String,
    /// Folder, from the root.
    pub folder: String,
    /// Names under `[dependencies]` alone: what tests use is their own business.
    pub dependencies: Vec<String>,
}

/// All crates below `core`, `shell` and `tools`.
pub fn members() -> Vec<Member> {
    let root = root();
    let mut members = Vec::new();
    for wing in ["core", "shell", "tools", "tests"] {
        for manifest in files(&root.join(wing), "toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
            let Ok(text) = std::fs::read_to_string(&manifest) else { continue };
            let folder = manifest
                .parent()
                .and_then(|folder| folder.strip_prefix(&root).ok())
                .map(|folder| folder.display().to_string())
                .unwrap_or_default();
            members.push(member(folder, &text));
        }
    }
    members
}

fn member(folder: String, manifest: &str) -> Member {
    let mut section = "";
    let mut name = String::new();
    let mut dependencies = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if let Some((key, value)) = line.split_once('=') {
            match section {
                "[package]" if key.trim() == "name" => name = value.trim().trim_matches('"').to_owned(),
                "[dependencies]" => dependencies.push(key.trim().split('.').next().unwrap_or_default().to_owned()),
                _ => {}
            }
        }
    }
    Member { name, folder, dependencies }
}
