//! The law of the house: see ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::path::Path;

use skep_tidy::{files, members, root};

/// Longest file; a longer one is several ideas.
const MAX_LINES: usize = 800;

/// Floor of every crate. An arrow may only point to a lower floor.
fn floors() -> BTreeMap<&'static str, u32> {
    BTreeMap::from([
        ("skep-model", 10),
        ("skep-store", 20),
        ("skep-consensus", 30),
        ("skep-pki", 30),
        ("skep-orchestrator", 30),
        ("skep-scheduler", 30),
        ("skep-network", 30),
        ("skep-dispatch", 30),
        ("skep-manager", 35),
        ("sim", 38),
        ("skep-rpc", 40),
        ("skep-docker-api", 40),
        ("skep-executor", 40),
        ("skep-disk", 40),
        ("skep-lab", 40),
        ("skep-node", 50),
        ("skep-cli", 50),
        ("skep-playground", 55),
        ("skep-bench", 55),
        ("skep", 60),
        ("skep-e2e", 70),
        ("skep-tidy", 0),
    ])
}

#[test]
fn arrows_only_point_down() {
    let floors = floors();
    for member in members() {
        let own = floors.get(member.name.as_str());
        let own =
            own.unwrap_or_else(|| panic!("{} ({}) has no floor yet: give it one here", member.name, member.folder));
        for dependency in member.dependencies.iter().filter(|name| name.starts_with("skep")) {
            let other = floors.get(dependency.as_str()).unwrap_or_else(|| panic!("{dependency} has no floor"));
            assert!(other < own, "{} may not use {dependency}: arrows only point down", member.name);
        }
    }
}

#[test]
fn the_core_names_no_runtime() {
    for member in members().into_iter().filter(|member| member.folder.starts_with("core/")) {
        for dependency in &member.dependencies {
            let worldly = ["tokio", "hyper", "tonic", "nix", "libc", "futures", "async-trait", "rustls", "rand_chacha"];
            assert!(!worldly.contains(&dependency.as_str()), "{} names {dependency}", member.name);
        }
    }
}

#[test]
fn the_core_never_touches_the_world() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::env::",
        "std::thread",
        "std::time::Instant",
        "std::time::SystemTime",
        "tokio::",
        "HashMap",
        "HashSet",
        "thread_rng",
        "rand::random",
        "static mut",
    ];
    for path in files(&root().join("core"), "rs") {
        if path.ends_with("build.rs") {
            continue;
        }
        let text = read(&path);
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in forbidden {
                assert!(!code.contains(word), "{}:{}: {word}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn files_are_short_and_finished() {
    let unfinished = ["todo!(", "unimplemented!(", "FIXME", "XXX", "#[ignore", "allow(dead_code)"];
    for path in sources() {
        let text = read(&path);
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines, more than {MAX_LINES}", path.display());
        if path.ends_with("tools/tidy/tests/house.rs") {
            continue;
        }
        for mark in unfinished {
            assert!(!text.contains(mark), "{} says {mark}", path.display());
        }
    }
}

#[test]
fn every_module_root_says_what_it_is() {
    for path in sources() {
        let name = path.file_name().unwrap_or_default();
        if name == "lib.rs" || name == "mod.rs" || name == "main.rs" {
            assert!(read(&path).starts_with("//!"), "{} does not open with //!", path.display());
        }
    }
}

fn sources() -> Vec<std::path::PathBuf> {
    ["core", "shell", "tools", "tests"].iter().flat_map(|wing| files(&root().join(wing), "rs")).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
