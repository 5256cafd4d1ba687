//! Secrets, configs and placeholders: what containers see of them, and what is refused.

use std::path::{Path, PathBuf};

use crate::support::{Swarm, wait_until};

fn file(swarm: &Swarm, name: &str, text: &str) -> String {
    let path = swarm.lab.directory().join(name);
    std::fs::write(&path, text).expect("a file");
    path.to_string_lossy().into_owned()
}

fn create(swarm: &Swarm, words: &[&str]) -> crate::support::Said {
    // PID 1 of its namespace ends by no other signal unless it asks for it.
    let mut all = vec!["service", "create", "--detach", "--no-resolve-image", "--stop-signal", "KILL"];
    all.extend(words);
    swarm.docker(1, &all)
}

fn exec(swarm: &Swarm, service: &str, script: &str) -> String {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let container = swarm.docker(1, &["ps", "-q", "--filter", &filter]).expect();
    swarm.docker(1, &["exec", container.lines().next().expect("a container"), "sh", "-c", script]).expect()
}

#[track_caller]
fn wait_error(swarm: &Swarm, service: &str, state: &str, reason: &str) {
    wait_until(&format!("{service} to say why"), || {
        let format = "{{.CurrentState}} {{.Error}}";
        let said = swarm.docker(1, &["service", "ps", "--no-trunc", service, "--format", format]).out;
        let told = said.lines().any(|line| line.starts_with(state) && line.contains(reason));
        if told { Ok(()) } else { Err(said) }
    });
}

/// Files below a directory that hold these bytes; mounts of memory file systems are no part of it.
fn holding(directory: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
        if kind.is_dir() {
            found.extend(holding(&path, needle));
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(needle.len()).any(|window| window == needle) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn secrets_and_configs_are_seen_by_their_tasks_alone_and_go_with_them() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    let secret = file(&swarm, "password", "hush-hush-4711");
    let config = file(&swarm, "motd", "welcome");
    swarm.docker(1, &["secret", "create", "--label", "team=a", "password", &secret]).expect();
    swarm.docker(1, &["config", "create", "motd", &config]).expect();
    std::fs::remove_file(&secret).expect("removed");
    let refusal = swarm.docker(1, &["config", "create", "motd", &config]).expect_failure();
    assert!(refusal.contains("config motd already exists"), "{refusal}");
    create(
        &swarm,
        &[
            "--name",
            "app",
            "--secret",
            "password",
            "--secret",
            "source=password,target=/etc/app/key,uid=100,gid=101,mode=0400",
            "--config",
            "source=motd,target=/etc/motd,mode=0440",
            "busybox",
            "sleep",
            "1000",
        ],
    )
    .expect();
    create(&swarm, &["--name", "stranger", "busybox", "sleep", "1000"]).expect();
    swarm.wait_running(1, "app", 1);
    swarm.wait_running(1, "stranger", 1);
    assert_eq!(exec(&swarm, "app", "cat /run/secrets/password /etc/app/key"), "hush-hush-4711hush-hush-4711");
    assert_eq!(exec(&swarm, "app", "stat -c '%u:%g %a' /run/secrets/password /etc/app/key /etc/motd"), {
        "0:0 444\n100:101 400\n0:0 440"
    });
    assert_eq!(exec(&swarm, "app", "cat /etc/motd"), "welcome");
    let mounts = exec(&swarm, "app", "grep -E ' (/run/secrets/password|/etc/app/key|/etc/motd) ' /proc/mounts");
    assert!(mounts.lines().count() == 3 && mounts.lines().all(|line| line.contains("tmpfs") && line.contains("ro")));
    assert_eq!(
        exec(&swarm, "app", "echo x 2>&1 > /run/secrets/password || echo refused").lines().last(),
        Some("refused")
    );
    assert_eq!(exec(&swarm, "stranger", "ls /run/secrets 2>/dev/null || echo none"), "none");

    // Not in clear on any disk, and nobody is told.
    assert_eq!(holding(&swarm.host(1).directory().join("data"), b"hush-hush-4711"), Vec::<PathBuf>::new());
    assert!(!swarm.docker(1, &["secret", "inspect", "password"]).expect().contains("Data"));
    for (kind, name) in [("secret", "password"), ("config", "motd")] {
        let refusal = swarm.docker(1, &[kind, "rm", name]).expect_failure();
        assert!(refusal.contains(&format!("{kind} '{name}' is in use by the following service: app")), "{refusal}");
    }

    swarm
        .docker(1, &["service", "update", "--detach", "--secret-rm", "password", "--config-rm", "motd", "app"])
        .expect();
    wait_until("the update's end", || {
        let said = swarm.docker(1, &["service", "inspect", "app", "--format", "{{.UpdateStatus.State}}"]).out;
        if said.trim() == "completed" { Ok(()) } else { Err(said) }
    });
    swarm.docker(1, &["secret", "rm", "password"]).expect();
    swarm.docker(1, &["config", "rm", "motd"]).expect();
    assert_eq!(
        swarm.docker(1, &["secret", "ls", "-q"]).expect() + &swarm.docker(1, &["config", "ls", "-q"]).expect(),
        ""
    );
    swarm.docker(1, &["service", "rm", "app", "stranger"]).expect();
    let exec_root = swarm.host(1).directory().join("exec").to_string_lossy().into_owned();
    wait_until("the memory file systems to go", || {
        let mounts = swarm.host(1).command("cat").arg("/proc/self/mounts").output().expect("cat runs").stdout;
        let mounts = String::from_utf8_lossy(&mounts).into_owned();
        let left: Vec<&str> =
            mounts.lines().filter(|line| line.contains(&exec_root) && line.contains("secrets")).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}

#[test]
fn placeholders_are_filled_in_on_the_node_or_refused_before() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    let secret = file(&swarm, "token", "t0ken");
    swarm.docker(1, &["secret", "create", "token", &secret]).expect();
    let text =
        "{{.Service.Name}}.{{.Task.Slot}} on {{.Node.Hostname}} listens on {{env \"PORT\"}} with {{secret \"token\"}}";
    let template = file(&swarm, "template", text);
    swarm.docker(1, &["config", "create", "--template-driver", "golang", "app", &template]).expect();
    swarm.docker(1, &["secret", "create", "--template-driver", "golang", "app", &template]).expect();
    let words = [
        "--name",
        "web",
        "--replicas",
        "2",
        "--label",
        "tier=front",
        "--hostname",
        "{{.Service.Name}}-{{.Task.Slot}}",
        "--env",
        "WHERE={{.Node.Hostname}}/{{.Service.Labels.tier}}",
        "--env",
        "PORT=8{{.Task.Slot}}",
        "--mount",
        "type=volume,source=data-{{.Task.Slot}},target=/data/{{.Service.Name}}",
        "--secret",
        "token",
        "--secret",
        "app",
        "--config",
        "source=app,target=/etc/app",
        "busybox",
        "sh",
        "-c",
        "echo $(hostname) $WHERE $(ls /data) \"$(cat /etc/app)\"; cmp /etc/app /run/secrets/app && exec sleep 1000",
    ];
    create(&swarm, &words).expect();
    swarm.wait_running(1, "web", 2);
    wait_until("what both tasks saw", || {
        let said = swarm.docker(1, &["service", "logs", "--raw", "web"]).out;
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        let expected = [
            "web-1 h1/front web web.1 on h1 listens on 81 with t0ken",
            "web-2 h1/front web web.2 on h1 listens on 82 with t0ken",
        ];
        if lines == expected { Ok(()) } else { Err(said) }
    });

    // What can be seen before there is a task is refused at once, with the field's name.
    for (option, value, reason) in [
        ("--env", "A={{.Nope}}", "expanding env \"A={{.Nope}}\": template: can't evaluate field Nope"),
        ("--env", "A={{.Service.Labels.none}}", "map has no entry for key \"none\""),
        ("--hostname", "{{.Task", "expanding hostname: template: unclosed action"),
        ("--mount", "type=volume,source={{secret}},target=/x", "function \"secret\" not defined"),
    ] {
        let refusal = create(&swarm, &["--name", "wrong", option, value, "busybox", "true"]).expect_failure();
        assert!(refusal.contains(reason), "{refusal}");
    }
    let broken = file(&swarm, "broken", "{{if}");
    for kind in ["config", "secret"] {
        let refusal = swarm.docker(1, &[kind, "create", "--template-driver", "golang", "broken", &broken]);
        assert!(refusal.expect_failure().contains(&format!("{kind}: template: ")));
        let refusal = swarm.docker(1, &[kind, "create", "--template-driver", "jinja", "broken", &broken]);
        assert!(refusal.expect_failure().contains("template driver \"jinja\" is not known: use golang"));
    }

    // What only the task can tell rejects it.
    let asking = file(&swarm, "asking", "{{secret \"other\"}}");
    swarm.docker(1, &["config", "create", "--template-driver", "golang", "asking", &asking]).expect();
    create(&swarm, &["--name", "asks", "--restart-condition", "none", "--config", "asking", "busybox", "true"])
        .expect();
    wait_error(&swarm, "asks", "Rejected", "config asking: template: secret target other not found");
}

#[test]
fn a_changed_file_rolls_its_stack_and_is_taken_back() {
    let Some(swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    let motd = |text: &str| file(&swarm, "motd", text);
    let compose = file(
        &swarm,
        "app.yml",
        r#"
version: "3.8"
services:
  web:
    image: "busybox:latest"
    init: true
    command: [sh, -c, "echo $$(cat /etc/motd /run/secrets/motd); exec sleep 1000"]
    configs: [{source: motd, target: /etc/motd}]
    secrets: [motd]
    deploy:
      replicas: 2
      update_config: {parallelism: 1, monitor: 300ms, order: start-first}
      rollback_config: {parallelism: 0, monitor: 300ms}
configs: {motd: {file: ./motd}}
secrets: {motd: {file: ./motd}}
"#,
    );
    let deploy = || {
        let words = ["stack", "deploy", "--resolve-image", "never", "--detach=false", "-c", &compose, "app"];
        let said = swarm.docker(1, &words);
        assert!(said.ok, "{}{}", said.out, said.err);
    };
    let seen = |text: &str| {
        wait_until(&format!("both tasks with {text:?}"), || {
            let words = ["service", "ps", "-q", "--no-trunc", "-f", "desired-state=running", "app_web"];
            let tasks = swarm.docker(1, &words).out;
            let logs = |task: &str| swarm.docker(1, &["service", "logs", "--raw", task]).out;
            let logs: Vec<String> = tasks.lines().map(logs).collect();
            if logs.len() == 2 && logs.iter().all(|log| log.trim() == format!("{text}{text}")) {
                Ok(())
            } else {
                Err(format!("{tasks}\n{logs:?}"))
            }
        });
    };
    let state = || swarm.docker(1, &["service", "inspect", "app_web", "--format", "{{.UpdateStatus.State}}"]).out;
    motd("one");
    deploy();
    swarm.wait_running(1, "app_web", 2);
    seen("one");
    let listed = || swarm.docker(1, &["secret", "ls", "--format", "{{.ID}} {{.Name}}"]).expect();
    let first = listed();
    motd("two");
    deploy();
    seen("two");
    let second = listed();
    assert!(second.ends_with(" app_motd") && second.lines().count() == 1 && second != first, "{first} {second}");
    assert_eq!(
        swarm.docker(1, &["config", "inspect", "app_motd", "--format", "{{printf \"%s\" .Spec.Data}}"]).expect(),
        "two"
    );
    let earlier = ["secret", "ls", "--filter", "label=skep.version.of=app_motd", "--format", "{{.ID}}"];
    assert_eq!(swarm.docker(1, &earlier).expect(), first.split(' ').next().expect("an id"));

    // One step of the user is one step back, though a stack sends the secret, the config and the service.
    wait_until("the update to end", || if state().trim() == "completed" { Ok(()) } else { Err(state()) });
    let said = swarm.docker(1, &["service", "rollback", "app_web"]);
    assert!(said.ok && said.out.contains(" converged"), "{}{}", said.out, said.err);
    seen("one");
    // What refers to an earlier version counts as its user, and may be updated further.
    let refusal = swarm.docker(1, &["secret", "rm", "app_motd"]).expect_failure();
    assert!(refusal.contains("secret 'app_motd' is in use by the following service: app_web"), "{refusal}");
    let said = swarm.docker(1, &["service", "update", "--env-add", "A=b", "app_web"]);
    assert!(said.ok, "{}{}", said.out, said.err);
    seen("one");
    motd("three");
    deploy();
    seen("three");
    swarm.docker(1, &["stack", "rm", "app"]).expect();
    wait_until("every version to be gone", || {
        let mut left = String::new();
        for kind in ["secret", "config"] {
            left += &swarm.docker(1, &[kind, "ls", "-q"]).out;
            left += &swarm.docker(1, &[kind, "ls", "-q", "--filter", "label=skep.version.of"]).out;
        }
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn live_data_reaches_running_tasks_with_a_signal() {
    let Some(mut swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    file(&swarm, "settings", "one");
    let compose = file(
        &swarm,
        "live.yml",
        r#"
version: "3.8"
services:
  web:
    image: "busybox:latest"
    command:
      - sh
      - -c
      - "trap 'echo again $$(cat /etc/settings)' USR1; trap 'exit 0' TERM; echo began $$(cat /etc/settings); while :; do sleep 0.1; done"
    configs: [{source: settings, target: /etc/settings, mode: 0440}]
    deploy: {mode: global}
configs:
  settings:
    file: ./settings
    labels: {skep.reload: live, skep.reload.signal: SIGUSR1}
"#,
    );
    let deploy = |swarm: &Swarm| {
        swarm.docker(1, &["stack", "deploy", "--resolve-image", "never", "-c", &compose, "live"]).expect();
    };
    let seen = |swarm: &Swarm, lines: &[&str]| {
        wait_until(&format!("{lines:?} of both tasks"), || {
            let said = swarm.docker(1, &["service", "logs", "--raw", "live_web"]).out;
            let whole = said.lines().count() == lines.len() * 2;
            if whole && lines.iter().all(|line| said.lines().filter(|said| said == line).count() == 2) {
                Ok(())
            } else {
                Err(said)
            }
        });
    };
    deploy(&swarm);
    seen(&swarm, &["began one"]);
    let tasks = |swarm: &Swarm| swarm.docker(1, &["service", "ps", "-q", "--no-trunc", "live_web"]).expect();
    let before = tasks(&swarm);
    file(&swarm, "settings", "two and more");
    deploy(&swarm);
    seen(&swarm, &["began one", "again two and more"]);
    // A daemon that was away learns of it when it is back; nobody is told twice.
    assert_eq!(swarm.stop_daemon(2), Some(0));
    file(&swarm, "settings", "three");
    deploy(&swarm);
    swarm.start_daemon(2);
    seen(&swarm, &["began one", "again two and more", "again three"]);
    assert_eq!(tasks(&swarm), before, "no task was replaced");
    assert_eq!(swarm.docker(1, &["config", "ls", "-q", "--filter", "label=skep.version.of"]).expect(), "");

    file(&swarm, "wrong", "x");
    for (label, reason) in [
        ("skep.reload=sometimes", "label skep.reload=sometimes is not known: use skep.reload=live"),
        ("skep.version.of=settings", "label skep.version.of is set by Skep itself"),
    ] {
        let path = swarm.lab.directory().join("wrong").to_string_lossy().into_owned();
        let refusal = swarm.docker(1, &["config", "create", "--label", label, "wrong", &path]).expect_failure();
        assert!(refusal.contains(reason), "{refusal}");
    }
}
