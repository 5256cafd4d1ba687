//! Ports of the routing mesh where Skep and Docker Engines share a swarm.

use super::mixed::Mixed;
use crate::support::{wait_for, wait_until};

fn answers(address: &str, port: u16) -> bool {
    let url = format!("http://{address}:{port}/hostname");
    let said = std::process::Command::new("curl").args(["-sf", "-m", "2", &url]).output();
    said.is_ok_and(|said| said.status.success())
}

const CREATE: [&str; 9] =
    ["service", "create", "--detach", "--no-resolve-image", "--name", "web", "--mode", "global", "--publish"];
const SERVER: [&str; 7] = ["busybox", "httpd", "-f", "-p", "80", "-h", "/etc"];

/// What a Docker Engine needs to carry the mesh comes from a Skep manager: its own load balancer's address, the ingress
/// network in the task, the ports. (Whether connections get through is its kernel's affair: IPVS.)
#[test]
fn a_docker_engine_is_told_of_the_mesh_as_by_docker() {
    let Some(mixed) = Mixed::one_of(1) else { return };
    mixed.join("worker").expect();
    mixed.docker(1, &[&CREATE[..], &["8080:80"], &SERVER].concat()).expect();
    wait_for("the Skep node to answer", || answers(&mixed.swarm.address(1), 8080));
    wait_until("the engine to run its task", || {
        let words = ["service", "ps", "--no-trunc", "web", "--format", "{{.Node}} {{.CurrentState}} {{.Error}}"];
        let rows = mixed.docker(1, &words).out;
        if rows.contains(&format!("h{} Running", mixed.last)) { Ok(()) } else { Err(rows) }
    });
    let networks = mixed
        .docker(mixed.last, &["network", "inspect", "ingress", "--format", "{{.Ingress}} {{json .Containers}}"])
        .expect();
    for attached in ["ingress-sbox", "web."] {
        assert!(networks.contains(attached), "{networks}");
    }
    mixed.docker(1, &["service", "rm", "web"]).expect();
    wait_for("nobody to answer", || !answers(&mixed.swarm.address(1), 8080));
}

#[test]
fn a_skep_worker_answers_for_a_docker_manager() {
    if !crate::engine::is_installed() {
        return;
    }
    let Some(mut swarm) = crate::support::Swarm::start(1) else { return };
    swarm.load_busybox([1]);
    let number = swarm.add_bare_host();
    let engine = crate::engine::Engine::start(&swarm, number);
    engine.docker(&["swarm", "init", "--advertise-addr", &swarm.address(number)]).expect();
    let token = engine.docker(&["swarm", "join-token", "-q", "worker"]).expect();
    swarm.docker(1, &["swarm", "join", "--token", &token, &format!("{}:2377", swarm.address(number))]).expect();
    let here = ["8080:80", "--constraint", "node.hostname==h1"];
    engine.docker(&[&CREATE[..], &here, &SERVER].concat()).expect();
    wait_until("the Skep node to answer", || {
        let words = ["service", "ps", "--no-trunc", "web", "--format", "{{.Node}} {{.CurrentState}} {{.Error}}"];
        let rows = engine.docker(&words).out;
        if answers(&swarm.address(1), 8080) { Ok(()) } else { Err(rows) }
    });
    engine.docker(&["service", "rm", "web"]).expect();
    wait_for("nobody to answer", || !answers(&swarm.address(1), 8080));
}
