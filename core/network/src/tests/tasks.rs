use super::*;
use crate::tasks::PENDING_MESSAGE;

#[test]
fn tasks_without_networks_are_pending_in_the_same_turn() {
    let mut bench = Bench::new();
    bench.create(service("web", &[]));
    let (_, entry) = bench
        .ledger
        .transact(bench.now, 500, 500, |tx| {
            (0..50).try_for_each(|number| {
                let mut task = task(&format!("t{number}"), Verbatim::default());
                task.service_id = Some(service_id("web"));
                tx.create(task)
            })
        })
        .expect("a transaction");
    bench.index = 500;
    bench.commit(entry.into_iter().collect());
    assert!(bench.turn());
    for number in 0..50 {
        let task = bench.task(&format!("t{number}"));
        assert_eq!((task.state(), task.status.message.as_str()), (TaskState::Pending, PENDING_MESSAGE));
        assert_eq!(task.status.timestamp, Some(bench.now.wall.into()));
        assert!(task.networks.is_empty() && task.endpoint.is_none());
    }
    assert!(!bench.turn(), "and that is all");
}

#[test]
fn what_was_written_earlier_in_the_same_transaction_counts() {
    let mut bench = Bench::new();
    let Bench { ledger, allocator, now, .. } = &mut bench;
    let mut number = 900;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    ledger.turn(
        *now,
        900,
        &mut || {
            number += 1;
            number
        },
        |tx| {
            let mark = tx.mark();
            tx.create(task("t", Verbatim::default())).expect("a task");
            for event in tx.written_since(mark) {
                allocator.observe(&event);
            }
            allocator.turn(*now, &mut rng, tx);
            assert_eq!(tx.task(&task_id("t")).expect("a task").state(), TaskState::Pending);
        },
    );
}

#[test]
fn a_task_that_nobody_wants_is_not_allocated() {
    let mut bench = Bench::new();
    let mut unwanted = task("t", Verbatim::default());
    unwanted.desired_state = TaskState::Remove;
    bench.create(unwanted);
    assert_eq!(bench.task("t").state(), TaskState::New);
    let mut job = task("j", Verbatim::default());
    job.desired_state = TaskState::Complete;
    bench.create(job);
    assert_eq!(bench.task("j").state(), TaskState::Pending);
}

#[test]
fn ingress_first_then_the_networks_of_the_spec() {
    let mut bench = Bench::new();
    bench.create(ingress());
    bench.create(overlay("net"));
    let ports = vec![port(80, 80, PublishMode::Ingress)];
    let mut web = service_of("web", &["net"], Some(EndpointSpec { ports, ..EndpointSpec::default() }));
    web.spec = web.spec.edit(|spec| {
        if let Some(task) = &mut spec.task {
            task.networks[0].aliases = vec!["www".to_owned()];
        }
    });
    bench.create(web);
    bench.make_task("t", "web");
    assert_eq!(bench.virtual_ips("web"), ["ingress=10.0.0.2/24", "net=10.0.1.2/24"]);
    assert_eq!(bench.addresses("t"), ["ingress=10.0.0.3/24", "net=10.0.1.3/24"]);
    let task = bench.task("t");
    assert_eq!(task.networks[1].aliases, ["www"]);
    assert_eq!(task.networks[1].network, Some(Kept::from(&bench.network("net")).value.into()));
    assert_eq!(task.endpoint, bench.service("web").endpoint.map(Into::into));
}

#[test]
fn a_wished_address_is_given_or_the_task_waits() {
    let mut bench = Bench::new();
    bench.create(overlay("net"));
    let wish = |address: &str| {
        let mut networks = attach(&["net"]);
        networks[0].addresses = vec![address.to_owned()];
        Verbatim::new(TaskSpec { networks, ..TaskSpec::default() })
    };
    bench.create(task("one", wish("10.0.0.77")));
    assert_eq!(bench.addresses("one"), ["net=10.0.0.77/24"]);
    bench.create(task("two", wish("10.0.0.77/24")));
    assert_eq!(bench.task("two").status.err, "address 10.0.0.77/24 of network net is in use or outside of its subnets");
    bench.set_state("one", TaskState::Complete);
    assert_eq!(bench.addresses("two"), ["net=10.0.0.77/24"]);
}

#[test]
fn a_full_network_is_told_and_heals_when_a_task_ends() {
    let mut bench = Bench::with(cluster(&["10.0.0.0/8"], 29));
    bench.create(overlay("net"));
    bench.create(service("web", &["net"]));
    // Gateway and virtual address leave four.
    for number in 0..6 {
        bench.make_task(&format!("t{number}"), "web");
    }
    let states: Vec<TaskState> = (0..6).map(|number| bench.task(&format!("t{number}")).state()).collect();
    assert_eq!(
        states,
        [
            TaskState::Pending,
            TaskState::Pending,
            TaskState::Pending,
            TaskState::Pending,
            TaskState::New,
            TaskState::New
        ]
    );
    assert_eq!(bench.task("t5").status.err, "could not find an available IP address in network net");
    bench.set_state("t1", TaskState::Failed);
    assert_eq!(bench.addresses("t4"), ["net=10.0.0.4/29"]);
    assert_eq!(bench.task("t5").state(), TaskState::New);
    bench.remove::<Task>(&task_id("t4"));
    assert_eq!(bench.addresses("t5"), ["net=10.0.0.4/29"]);
    assert!(bench.task("t5").status.err.is_empty());
}

#[test]
fn what_waits_is_tried_again_after_a_while() {
    let mut bench = Bench::new();
    bench.create(task("t", Verbatim::new(TaskSpec { networks: attach(&["net"]), ..TaskSpec::default() })));
    assert_eq!(bench.task("t").status.err, "network net does not exist");
    let at = bench.allocator.wake_at().expect("a time");
    assert_eq!(at, bench.now.monotonic.after(crate::RETRY_INTERVAL));
    bench.pass(crate::RETRY_INTERVAL);
    assert!(bench.allocator.wake_at().is_some_and(|at| at > bench.now.monotonic));
    bench.create(overlay("net"));
    assert_eq!(bench.addresses("t"), ["net=10.0.0.2/24"], "at once when the network comes");
    assert_eq!(bench.allocator.wake_at(), None);
}

#[test]
fn a_new_leader_knows_what_live_tasks_hold() {
    let mut bench = Bench::new();
    bench.create(overlay("net"));
    bench.create(service("web", &["net"]));
    for id in ["t1", "t2", "t3"] {
        bench.make_task(id, "web");
    }
    bench.set_state("t2", TaskState::Failed);
    let before: Vec<Task> = ["t1", "t2", "t3"].map(|id| bench.task(id)).into();
    bench.take_over();
    let after: Vec<Task> = ["t1", "t2", "t3"].map(|id| bench.task(id)).into();
    assert_eq!(before, after);
    bench.make_task("t4", "web");
    bench.make_task("t5", "web");
    let given = [bench.addresses("t4"), bench.addresses("t5")].concat();
    assert_eq!(given, ["net=10.0.0.4/24", "net=10.0.0.6/24"], "of the one that ended, then beyond those that live");
}

#[test]
fn a_global_tasks_node_is_attached_before_it_is_scheduled() {
    let mut bench = Bench::new();
    bench.create(ingress());
    bench.create(node("a"));
    bench.create(overlay("net"));
    bench.create(service("everywhere", &["net"]));
    let spec = bench.service("everywhere").spec.task.clone().map(Verbatim::new).unwrap_or_default();
    let mut task = task("t", spec);
    task.service_id = Some(service_id("everywhere"));
    task.node_id = NodeId::optional("a");
    bench.create(task);
    assert_eq!(bench.attachments("a"), ["ingress=10.0.0.2/24", "net=10.0.1.4/24"]);
}

#[test]
fn no_address_number_or_port_is_held_twice() {
    use rand_core::RngCore;
    use std::collections::BTreeSet;

    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut bench = Bench::with(cluster(&["10.0.0.0/8"], 27));
    bench.create(ingress());
    for id in ["a", "b"] {
        bench.create(node(id));
    }
    for step in 0..400 {
        match rng.next_u64() % 8 {
            0 => bench.create(overlay(&format!("net{step}"))),
            1 | 2 => {
                let networks = bench.ledger.committed().networks();
                let network = networks[(rng.next_u64() % networks.len() as u64) as usize].id.to_string();
                let ports = vec![port(0, 80, PublishMode::Ingress)];
                let networks: &[&str] = if network == "ingress" { &[] } else { &[&network] };
                bench.create(service_of(
                    &format!("s{step}"),
                    networks,
                    Some(EndpointSpec { ports, ..EndpointSpec::default() }),
                ));
            }
            3..=5 => {
                let services = bench.ledger.committed().services();
                if let Some(service) = services.get((rng.next_u64() % (services.len() as u64 + 1)) as usize) {
                    bench.make_task(&format!("t{step}"), service.id.as_str());
                }
            }
            6 => {
                let tasks = bench.ledger.committed().tasks();
                if let Some(task) = tasks.get((rng.next_u64() % (tasks.len() as u64 + 1)) as usize) {
                    let id = task.id.to_string();
                    match task.state() {
                        TaskState::Pending => bench.schedule(&id, if step % 2 == 0 { "a" } else { "b" }),
                        _ => bench.set_state(&id, TaskState::Failed),
                    }
                }
            }
            _ => bench.take_over(),
        }
        let store = bench.ledger.committed();
        let mut seen = BTreeSet::new();
        let tasks = store.tasks().into_iter().filter(|task| !task.has_ended()).flat_map(|task| written(&task.networks));
        let nodes = store.nodes().into_iter().flat_map(|node| written(&node.attachments));
        let services = store.services();
        let virtual_ips = services.iter().flat_map(|service| bench.virtual_ips(service.id.as_str()));
        let ports =
            services.iter().flat_map(|service| bench.published(service.id.as_str())).map(|port| port.to_string());
        for held in tasks.chain(nodes).chain(virtual_ips).chain(ports) {
            if !held.ends_with('=') {
                assert!(seen.insert(held.clone()), "step {step}: {held} is held twice");
            }
        }
    }
}
