//! Secrets whose data a plugin gives: Skep's and Docker's managers, Skep's and Docker's workers.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::engine::{self, Engine};
use crate::plugin::{Plugin, value};
use crate::support::{Said, Swarm, wait_until};

/// Managers with plugin directories of their own, and the plugins that say whose they are.
fn managers(count: usize) -> Option<(Swarm, Vec<Plugin>)> {
    let mut swarm = Swarm::start(0)?;
    let mut plugins = Vec::new();
    for number in 1..=count {
        assert_eq!(swarm.add_bare_host(), number);
        plugins.push(serve(&swarm, number));
        let directory = directory(&swarm, number).display().to_string();
        swarm.start_daemon_with(number, &["--plugin-dir", &directory]);
    }
    swarm.init();
    (2..=count).for_each(|number| swarm.join(number, "manager"));
    swarm.load_busybox(1..=count);
    Some((swarm, plugins))
}

fn directory(swarm: &Swarm, number: usize) -> PathBuf {
    swarm.host(number).directory().join("plugins")
}

/// A plugin whose values name their task and the plugin.
fn serve(swarm: &Swarm, number: usize) -> Plugin {
    Plugin::serve(&directory(swarm, number).join("vault.sock"), named(number))
}

fn named(number: usize) -> impl Fn(&Value) -> Value + Send {
    move |question| {
        let word = |key: &str| question[key].as_str().unwrap_or_default().to_owned();
        let text = format!("{} for {} from h{number} {{{{.Service.Name}}}}", word("SecretName"), word("TaskID"));
        let mut answer = value(&text);
        answer["DoNotReuse"] = json!(question["SecretLabels"]["for"] == "one");
        answer
    }
}

/// The task that a service has, and what its container sees.
fn seen(swarm: &Swarm, service: &str, file: &str) -> (String, String) {
    swarm.wait_running(1, service, 1);
    let words = ["service", "ps", "--quiet", "--no-trunc", "--filter", "desired-state=running", service];
    let task = swarm.docker(1, &words).expect();
    let logs = wait_until("the task's output", || {
        let said = swarm.docker(1, &["service", "logs", "--raw", service]).out;
        if said.contains("end of file") { Ok(said) } else { Err(said) }
    });
    let text = logs.lines().find(|line| line.contains(file)).unwrap_or_default().to_owned();
    (task, text)
}

fn create(swarm: &Swarm, name: &str, secret: &str) -> Said {
    let script = "grep . /run/secrets/* /dev/null; echo end of file; exec sleep 1000";
    swarm.create_service(name, &["--stop-signal", "KILL", "--secret", secret], &["sh", "-c", script])
}

#[track_caller]
fn wait_reason(swarm: &Swarm, service: &str, reason: &str) {
    wait_until(&format!("{service} to say why it waits"), || {
        let format = "{{.CurrentState}}|{{.Error}}";
        let said = swarm.docker(1, &["service", "ps", "--no-trunc", service, "--format", format]).out;
        if said.starts_with("Assigned") && said.contains(reason) { Ok(()) } else { Err(said) }
    });
}

#[test]
fn a_driver_gives_each_task_its_value_and_tasks_wait_for_one_that_is_away() {
    let Some((mut swarm, mut plugins)) = managers(3) else { return };
    let made = ["secret", "create", "--driver", "vault", "--label", "for=one"];
    swarm.docker(1, &[&made[..], &["key"]].concat()).expect();
    swarm.docker(1, &["secret", "create", "--driver", "vault", "--template-driver", "golang", "text"]).expect();
    assert_eq!(
        swarm.docker(2, &["secret", "ls", "--format", "{{.Name}} {{.Driver}}"]).expect(),
        "key vault\ntext vault"
    );
    let spec = swarm.docker(3, &["secret", "inspect", "--format", "{{json .Spec}}", "key"]).expect();
    assert_eq!(
        serde_json::from_str::<Value>(&spec).expect("JSON"),
        json!({ "Name": "key", "Labels": { "for": "one" }, "Driver": { "Name": "vault" } })
    );

    create(&swarm, "first", "key").expect();
    let (task, text) = seen(&swarm, "first", "/run/secrets/key");
    assert_eq!(text, format!("/run/secrets/key:key for {task} from h1 {{{{.Service.Name}}}}"));
    create(&swarm, "templated", "text").expect();
    let (task, text) = seen(&swarm, "templated", "/run/secrets/text");
    assert_eq!(text, format!("/run/secrets/text:text for {task} from h1 templated"));
    assert_eq!(plugins[0].asked().len(), 2);
    assert_eq!(plugins[0].activated(), 1);

    // In no log and on no disk.
    swarm.create_service("silent", &["--stop-signal", "KILL", "--secret", "key"], &["sleep", "1000"]).expect();
    swarm.wait_running(1, "silent", 1);
    let task = swarm.docker(1, &["service", "ps", "--quiet", "--no-trunc", "silent"]).expect();
    for number in 1..=3 {
        let data = swarm.host(number).directory().join("data");
        let needle = format!("for {task} from");
        let found = std::process::Command::new("grep").args(["-rlF", &needle]).arg(&data).output().expect("grep runs");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }

    // From a stack file.
    let stack = swarm.lab.directory().join("stack.yml");
    let text = r#"
version: "3.8"
services:
  app:
    image: "busybox:latest"
    init: true
    command: [sh, -c, "grep . /run/secrets/* /dev/null; echo end of file; exec sleep 1000"]
    secrets: [word]
secrets: {word: {driver: vault, labels: {for: one}}}
"#;
    std::fs::write(&stack, text).expect("a file");
    let stack = stack.display().to_string();
    swarm.docker(1, &["stack", "deploy", "--resolve-image", "never", "--compose-file", &stack, "st"]).expect();
    let (task, text) = seen(&swarm, "st_app", "/run/secrets/word");
    assert_eq!(text, format!("/run/secrets/word:st_word for {task} from h1 {{{{.Service.Name}}}}"));

    plugins[0].answer(|_| json!({ "Err": "the vault is sealed" }));
    create(&swarm, "second", "key").expect();
    wait_reason(&swarm, "second", "secret key: driver vault on manager h1: the plugin said: the vault is sealed");
    plugins[0].answer(named(1));
    seen(&swarm, "second", "/run/secrets/key");

    plugins.remove(0);
    create(&swarm, "third", "key").expect();
    wait_reason(&swarm, "third", "secret key: driver vault on manager h1: there is no plugin of that name (vault.sock");
    plugins.insert(0, serve(&swarm, 1));
    seen(&swarm, "third", "/run/secrets/key");

    // Whoever leads asks the plugin of its own host.
    swarm.kill_daemon(1);
    let leader = wait_until("another leader", || match swarm.leader(2) {
        Some(leader) if leader != "h1" => Ok(leader),
        other => Err(format!("{other:?}")),
    });
    let script = "grep . /run/secrets/* /dev/null; exec sleep 1000";
    let words = ["service", "create", "--detach", "--no-resolve-image", "--stop-signal", "KILL", "--secret", "key"];
    swarm.docker(2, &[&words[..], &["--name", "later", "busybox", "sh", "-c", script]].concat()).expect();
    wait_until("the other plugin's value", || {
        let said = swarm.docker(2, &["service", "logs", "--raw", "later"]).out;
        if said.contains(&format!("from {leader} ")) { Ok(()) } else { Err(said) }
    });
}

type Client<'a> = dyn Fn(&[&str]) -> Said + 'a;

/// A manager with a worker of the other kind, and a plugin.
struct Side<'a> {
    manager: Box<Client<'a>>,
    plugin: Plugin,
}

impl Side<'_> {
    fn prepare(&self) {
        for (name, label) in [("shared", "for=all"), ("single", "for=one")] {
            (self.manager)(&["secret", "create", "--driver", "vault", "--label", label, name]).expect();
        }
        let script = "for file in /run/secrets/*; do echo $file $(stat -c '%u:%g %a' $file) $(cat $file); done; \
                      exec sleep 1000";
        let words = ["service", "create", "--detach", "--no-resolve-image", "--mode", "global", "--name", "look"];
        let more = ["--label", "tier=one", "--hostname", "box", "--publish", "published=8080,target=80,mode=host"];
        let secrets = ["--secret", "shared", "--secret", "source=single,target=other,uid=3,mode=0400"];
        (self.manager)(&[&words[..], &more, &secrets, &["busybox", "sh", "-c", script]].concat()).expect();
    }

    /// What both tasks see, and what the plugin was asked, with what must differ left out.
    fn seen(&self) -> (Vec<String>, Vec<Value>) {
        let lines = wait_until("both tasks to have looked", || {
            let said = (self.manager)(&["service", "logs", "--raw", "look"]);
            let lines: Vec<String> = said.out.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect();
            if lines.len() == 4 { Ok(lines) } else { Err(format!("{} {}", said.out, said.err)) }
        });
        let format = "{{.ID}}";
        let tasks = (self.manager)(&["service", "ps", "--no-trunc", "--format", format, "look"]).expect();
        let mut lines = lines;
        for line in &mut lines {
            let task = tasks.lines().find(|task| line.contains(*task)).expect("a value of one of the tasks");
            *line = line.replace(task, "<task>");
        }
        lines.sort();
        let plain = |mut question: Value| {
            let task = question["TaskID"].as_str().unwrap_or_default().to_owned();
            assert!(tasks.lines().any(|known| known == task), "{question}");
            let node = question["NodeID"].as_str().expect("a node").to_owned();
            assert_eq!(question["TaskName"], json!(format!("look.{node}.{task}")));
            for key in ["TaskID", "TaskName", "NodeID", "ServiceID"] {
                assert!(question[key].as_str().is_some_and(|text| !text.is_empty()), "{question}");
                question[key] = json!("<id>");
            }
            question
        };
        let mut asked: Vec<Value> = self.plugin.asked().into_iter().map(plain).collect();
        asked.sort_by_key(Value::to_string);
        (lines, asked)
    }
}

fn per_task(question: &Value) -> Value {
    let mut answer = value(&format!("{} of {}", question["SecretName"], question["TaskID"]).replace('"', ""));
    answer["DoNotReuse"] = json!(question["SecretLabels"]["for"] == "one");
    answer
}

#[test]
fn docker_and_skep_ask_a_plugin_alike_and_work_for_each_other() {
    if !engine::is_installed() {
        return;
    }
    let Some(mut swarm) = Swarm::start(2) else { return };
    let (docker_host, docker_worker_host) = (swarm.add_bare_host(), swarm.add_bare_host());
    let links: Vec<PathBuf> = [1, docker_host].map(|number| directory(&swarm, number).join("vault.sock")).into();
    for (number, socket) in [1, docker_host].into_iter().zip(&links) {
        // Where Docker looks; each host has a /run of its own.
        let script =
            format!("mkdir -p /run/docker/plugins && ln -s {} /run/docker/plugins/vault.sock", socket.display());
        assert!(swarm.host(number).command("sh").args(["-c", &script]).status().expect("sh runs").success());
    }
    let engine = Engine::start(&swarm, docker_host);
    let worker = Engine::start(&swarm, docker_worker_host);
    swarm.load_busybox([1, 2]);
    swarm.init();
    engine.docker(&["swarm", "init", "--advertise-addr", &swarm.address(docker_host)]).expect();
    let token = swarm.docker(1, &["swarm", "join-token", "-q", "worker"]).expect();
    worker.docker(&["swarm", "join", "--token", &token, &format!("{}:2377", swarm.address(1))]).expect();
    let token = engine.docker(&["swarm", "join-token", "-q", "worker"]).expect();
    swarm.docker(2, &["swarm", "join", "--token", &token, &format!("{}:2377", swarm.address(docker_host))]).expect();

    let [skep, docker] = [
        Side { manager: Box::new(|words| swarm.docker(1, words)), plugin: Plugin::serve(&links[0], per_task) },
        Side { manager: Box::new(|words| engine.docker(words)), plugin: Plugin::serve(&links[1], per_task) },
    ];
    for side in [&skep, &docker] {
        side.prepare();
    }
    let (skep_lines, skep_asked) = skep.seen();
    let (docker_lines, docker_asked) = docker.seen();
    let expected = ["/run/secrets/other 3:0 400 single of <task>", "/run/secrets/shared 0:0 444 shared of <task>"];
    let expected: Vec<&str> = expected.iter().flat_map(|line| [*line, *line]).collect();
    assert_eq!(skep_lines, expected);
    assert_eq!(docker_lines, expected);
    assert_eq!(skep_asked.len(), 4);
    assert_eq!(skep_asked, docker_asked, "skep asks as docker does");
}
