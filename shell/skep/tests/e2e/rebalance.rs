//! Tasks move to hosts that come (back), for services that ask for it.

use crate::support::{Swarm, wait_until};

/// Replicas of the service that moves.
const REPLICAS: usize = 4;

/// Where tasks run, sorted.
fn spread(swarm: &Swarm) -> Vec<String> {
    let mut hosts: Vec<String> =
        swarm.running(1, "web").iter().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    hosts.sort();
    hosts
}

/// Waits until the running tasks are spread like this; on the way there are never fewer than the service's replicas,
/// and never more than one beside them.
#[track_caller]
fn wait_spread(swarm: &Swarm, expected: &[usize]) {
    wait_until(&format!("the tasks to spread like {expected:?}"), || {
        let format = "{{.Node}} {{.CurrentState}}";
        let said = swarm.docker(1, &["service", "ps", "web", "--filter", "desired-state=running", "--format", format]);
        let lines: Vec<String> = said.expect().lines().map(str::to_owned).collect();
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for line in lines.iter().filter(|line| line.contains(" Running ")) {
            *counts.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
        }
        let running: usize = counts.values().sum();
        assert!(
            running >= REPLICAS && lines.len() <= REPLICAS + 1,
            "one at a time, never below the count: {lines:?}\n{}{}",
            swarm.docker(1, &["service", "ps", "--no-trunc", "web"]).out,
            swarm.docker(1, &["node", "ls"]).out
        );
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable();
        if counts == expected && lines.len() == REPLICAS { Ok(()) } else { Err(lines.join("\n")) }
    });
}

#[test]
fn tasks_move_one_at_a_time_to_hosts_that_come_back_or_join() {
    let Some(mut swarm) = Swarm::formed(1, 1) else { return };
    assert_eq!(swarm.add_bare_host(), 3);
    swarm.start_daemon(3);
    swarm.load_busybox(1..=3);
    let words = ["--label", "skep.rebalance=true", "--replicas", "4", "--stop-signal", "KILL"];
    swarm.create_service("web", &words, &["sleep", "1000"]).expect();
    swarm.wait_running(1, "web", REPLICAS);
    assert_eq!(spread(&swarm), ["h1", "h1", "h2", "h2"]);

    // A host is lost and comes back.
    swarm.kill_daemon(2);
    wait_until("all tasks on the host that is left", || {
        let spread = spread(&swarm);
        if spread == ["h1"; REPLICAS] { Ok(()) } else { Err(format!("{spread:?}")) }
    });
    swarm.start_daemon(2);
    wait_spread(&swarm, &[2, 2]);

    // Another one joins: two on each of two hosts, none on the third.
    swarm.join(3, "worker");
    wait_spread(&swarm, &[1, 1, 2]);

    // What was moved has gone from where it was.
    let containers = || (1..=3).map(|number| swarm.docker(number, &["ps", "-q"]).out.lines().count()).sum::<usize>();
    wait_until("the old containers to go", || {
        let left = containers();
        if left == REPLICAS { Ok(()) } else { Err(format!("{left} containers")) }
    });
}
