//! A global service's one task on each node, whatever becomes of the node: two of its containers never run at a time.

use std::fs;

use crate::support::{Swarm, wait_until};

/// Notes when it begins and ends, and takes its time to end.
const AGENT: &str = "trap 'sleep 2; echo end >> /log/agent; exit' TERM; echo begin >> /log/agent; sleep 1000 & wait";

struct Agents(Swarm);

impl Agents {
    /// What the agents on a host noted. What was ended by force, or with its host, noted no end.
    fn notes(&self, number: usize) -> Vec<String> {
        let notes = fs::read_to_string(self.directory(number).join("agent")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    fn directory(&self, number: usize) -> std::path::PathBuf {
        self.0.lab.directory().join(format!("agent-h{number}"))
    }

    /// Ids of the tasks that are wanted on a host.
    fn wanted(&self, number: usize) -> Vec<String> {
        let words = ["service", "ps", "agents", "--no-trunc", "--filter", "desired-state=running"];
        let said = self.0.docker(1, &[&words[..], &["--format", "{{.Node}} {{.ID}} {{.CurrentState}}"]].concat());
        let host = format!("h{number} ");
        let here = said.out.lines().filter_map(|line| line.strip_prefix(&host));
        here.filter(|rest| rest.contains(" Running "))
            .map(|rest| rest.split(' ').next().unwrap_or("").to_owned())
            .collect()
    }

    /// Names of the containers that run on a host.
    fn containers(&self, number: usize) -> Vec<String> {
        self.0.docker(number, &["ps", "--format", "{{.Names}}"]).out.lines().map(str::to_owned).collect()
    }

    /// Waits until exactly one task is wanted, runs, and has the only container there; gives back its id.
    #[track_caller]
    fn only_task(&self, number: usize, other_than: Option<&str>) -> String {
        let mut only = String::new();
        wait_until(&format!("one task on h{number}"), || {
            let (wanted, containers) = (self.wanted(number), self.containers(number));
            match (wanted.as_slice(), containers.as_slice()) {
                ([task], [container]) if container.ends_with(task) && other_than != Some(task) => {
                    only.clone_from(task);
                    Ok(())
                }
                _ => Err(format!("{wanted:?} {containers:?}\n{}", self.0.docker(1, &["service", "ps", "agents"]).out)),
            }
        });
        only
    }

    #[track_caller]
    fn wait_none(&self, number: usize) {
        wait_until(&format!("no task on h{number}"), || {
            let wanted = self.wanted(number);
            if wanted.is_empty() { Ok(()) } else { Err(format!("{wanted:?}")) }
        });
    }
}

#[test]
fn a_node_that_goes_and_comes_back_has_one_task_again() {
    let Some(swarm) = Swarm::formed(1, 2) else { return };
    let mut agents = Agents(swarm);
    agents.0.load_busybox(1..=3);
    for number in 1..=3 {
        fs::create_dir_all(agents.directory(number)).expect("a directory");
        agents.0.node_update(1, &["--label-add", "agent=yes", &format!("h{number}")]);
    }
    let source = agents.0.lab.directory().join("agent-{{.Node.Hostname}}");
    let mount = format!("type=bind,source={},target=/log", source.display());
    let words = ["--mode", "global", "--constraint", "node.labels.agent==yes", "--mount", &mount];
    agents.0.create_service("agents", &words, &["sh", "-c", AGENT]).expect();
    let first: Vec<String> = (1..=3).map(|number| agents.only_task(number, None)).collect();

    // Cut off: its container runs on, and nobody can stop it before the node is back.
    agents.0.host(2).cut_cable().expect("the cable is cut");
    agents.wait_none(2);
    assert_eq!(agents.containers(2).len(), 1);
    agents.0.host(2).plug_cable().expect("the cable is back");
    let second = agents.only_task(2, Some(&first[1]));
    assert_eq!(agents.notes(2), ["begin", "end", "begin"], "one after the other");

    // A label that goes, and is back before the task has ended.
    agents.0.node_update(1, &["--label-rm", "agent", "h2"]);
    agents.wait_none(2);
    agents.0.node_update(1, &["--label-add", "agent=yes", "h2"]);
    agents.only_task(2, Some(&second));
    assert_eq!(agents.notes(2), ["begin", "end", "begin", "end", "begin"]);

    // A host that dies with all that runs on it.
    agents.0.power_off(3);
    agents.wait_none(3);
    agents.0.reboot(3);
    agents.only_task(3, Some(&first[2]));
    assert_eq!(agents.notes(3), ["begin", "begin"]);

    // Who stayed has the task that it had.
    assert_eq!(agents.only_task(1, None), first[0]);
    assert_eq!(agents.notes(1), ["begin"]);
}
