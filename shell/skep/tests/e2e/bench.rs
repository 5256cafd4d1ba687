//! `skep bench agents` against a real manager.

use crate::support::{Said, Swarm};

#[test]
fn simulated_workers_join_run_replicas_and_leave_nothing() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    let token = swarm.docker(1, &["swarm", "join-token", "-q", "worker"]).expect();
    let agents = |token: &str, more: &[&str]| -> Said {
        let output = swarm
            .host(1)
            .command(env!("CARGO_BIN_EXE_skep"))
            .args(["bench", "agents", "--manager", &format!("{}:2377", swarm.address(1)), "--token", token])
            .arg("--socket")
            .arg(swarm.socket(1))
            .args(more)
            .output();
        output.expect("the bench starts").into()
    };
    let said = agents(&token, &["--agents", "7", "--replicas", "40"]).expect();
    for part in ["joined in ", "all sessions begun in ", "service created in ", "all replicas running in "] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(swarm.docker(1, &["node", "ls", "-q"]).expect().lines().count(), 1, "the agents' nodes are gone");
    assert_eq!(swarm.docker(1, &["service", "ls", "-q"]).expect(), "");

    let said = agents("SWMTKN-1-nonsense", &[]).expect_failure();
    assert!(said.contains("token"), "{said}");
    let said = agents(&token, &["--agents", "100000"]).expect_failure();
    assert!(said.contains("ulimit -n"), "{said}");
}

#[test]
fn without_a_manager_one_of_each_product_is_made_and_measured() {
    // Only where hosts can be made.
    if Swarm::formed(1, 0).is_none() {
        return;
    }
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_skep"))
        .args(["bench", "agents", "--skip-docker", "--agents", "3", "--replicas", "12"])
        .output();
    let said = Said::from(output.expect("the bench starts")).expect();
    for part in ["Skep:", "all replicas running in ", "| service created, all replicas running | – | "] {
        assert!(said.contains(part), "{said}");
    }
}
