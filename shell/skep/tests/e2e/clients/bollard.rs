//! bollard, a Docker client in Rust: the tests that its crate ships, against our sockets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::clients::peers::{directory, fetched, output};
use crate::support::{Swarm, busybox_archive};

const VERSION: &str = "0.21.1";

/// Its tests of a swarm, by the file they are in.
const SUITES: [(&str, &[&str]); 6] = [
    ("config_test", &["create_config", "list_configs", "update_config"]),
    ("node_test", &["inspect_node", "list_nodes", "update_node"]),
    ("secret_test", &["create_secret", "list_secrets", "update_secret"]),
    ("service_test", &["create_service", "list_services", "rollback_service", "service_logs", "update_service"]),
    ("task_test", &["inspect_task", "list_tasks", "task_logs"]),
    // Makes its own swarm, on a node that is in none.
    ("swarm_test", &["swarm"]),
];

/// Tests of networks, all of which need what a node without single containers has not: once one of them passes, it
/// belongs to the others.
const OUT_OF_REACH: [(&str, &str); 4] = [
    ("create_network", "makes a network of one node"),
    ("list_networks", "makes a network of one node"),
    ("connect_network", "connects a single container"),
    ("prune_networks", "makes a network of one node"),
];

#[test]
fn its_own_tests_pass() {
    let Some(source) = source() else { return };
    let Some(swarm) = Swarm::start(2) else { return };
    swarm.init();
    let archive = busybox_archive(swarm.lab.directory()).display().to_string();
    swarm.docker(1, &["import", "-c", r#"CMD ["sleep","1000"]"#, &archive, "fussybeaver/uhttpd:latest"]).expect();
    for (suite, tests) in SUITES {
        let host = if suite == "swarm_test" { 2 } else { 1 };
        let (outcomes, said) = run(&source, suite, &swarm.socket(host));
        for test in tests {
            let outcome = outcomes.get(&format!("integration_test_{test}")).map(String::as_str);
            assert_eq!(outcome, Some("ok"), "{suite} {test}\n{said}");
        }
        assert_eq!(outcomes.len(), tests.len(), "{suite} has other tests: {outcomes:?}");
    }
    let (outcomes, said) = run(&source, "network_test", &swarm.socket(1));
    for (test, why) in OUT_OF_REACH {
        let outcome = outcomes.get(&format!("integration_test_{test}")).map(String::as_str);
        assert_eq!(outcome, Some("FAILED"), "{test} {why}\n{said}");
    }
    assert_eq!(outcomes.len(), OUT_OF_REACH.len(), "{outcomes:?}");
}

/// The crate as its registry has it, copied to where it can be built.
fn source() -> Option<PathBuf> {
    let directory = directory("bollard");
    let source = directory.join(format!("bollard-{VERSION}"));
    let manifest = directory.join("fetch/Cargo.toml");
    std::fs::create_dir_all(manifest.with_file_name("src")).expect("a directory");
    std::fs::write(manifest.with_file_name("src/lib.rs"), "").expect("a file");
    let text = format!(
        "[package]\nname = \"fetch\"\nedition = \"2021\"\n[workspace]\n[dependencies]\nbollard = \"={VERSION}\"\n"
    );
    std::fs::write(&manifest, text).expect("a file");
    let mut metadata = cargo(&manifest);
    metadata.args(["metadata", "--format-version", "1", "--manifest-path"]).arg(&manifest);
    if !fetched(&mut metadata) {
        return None;
    }
    let (_, text) = output(&mut metadata);
    // Cargo's remarks stand behind it.
    let mut documents = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
    let metadata = documents.next().and_then(Result::ok).expect("metadata as JSON");
    let package = metadata["packages"].as_array().into_iter().flatten().find(|package| package["name"] == "bollard");
    let unpacked = package.and_then(|package| package["manifest_path"].as_str()).expect("the crate is there");
    if !source.exists() {
        let from = Path::new(unpacked).parent().expect("a directory");
        let (ok, said) = output(Command::new("cp").arg("-r").arg(from).arg(&source));
        assert!(ok, "{said}");
    }
    let mut build = cargo(&source.join("Cargo.toml"));
    build.args(["test", "--no-run", "--features", "test_swarm"]).args(tests());
    fetched(&mut build).then_some(source)
}

fn tests() -> Vec<&'static str> {
    SUITES.iter().map(|(suite, _)| *suite).chain(["network_test"]).flat_map(|suite| ["--test", suite]).collect()
}

/// Cargo for a build of its own, small and away from ours.
fn cargo(manifest: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(manifest.parent().expect("a directory"))
        .env("CARGO_TARGET_DIR", directory("bollard").join("target"))
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_TEST_DEBUG", "0");
    cargo
}

/// Outcome by test, and everything that was said.
fn run(source: &Path, suite: &str, socket: &Path) -> (BTreeMap<String, String>, String) {
    let mut cargo = cargo(&source.join("Cargo.toml"));
    cargo
        .args(["test", "--features", "test_swarm", "--test", suite, "--", "--test-threads", "1"])
        .env("DISABLE_REGISTRY", "1")
        .env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let (_, said) = output(&mut cargo);
    let outcome = |line: &str| {
        let (test, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
        Some((test.to_owned(), outcome.to_owned()))
    };
    (said.lines().filter_map(outcome).collect(), said)
}
