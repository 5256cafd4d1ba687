//! What containers are given, and what is said when they fail, by the stock CLI on real daemons.

use std::process::{Command, Stdio};

use crate::support::{Swarm, wait_for, wait_until};

/// A service of one task that is not started again, with a shell's words.
fn create(swarm: &Swarm, name: &str, options: &[&str], script: &str) {
    let mut words = vec!["service", "create", "--detach", "--no-resolve-image", "--restart-condition", "none"];
    words.extend(["--name", name]);
    words.extend(options);
    words.extend(["busybox", "sh", "-c", script]);
    swarm.docker(1, &words).expect();
}

/// Waits until `service ps` says it.
fn says(swarm: &Swarm, service: &str, sentence: &str) {
    wait_until(&format!("{service} to say {sentence:?}"), || {
        let said =
            swarm.docker(1, &["service", "ps", "--no-trunc", service, "--format", "{{.CurrentState}} {{.Error}}"]);
        if said.out.contains(sentence) { Ok(()) } else { Err(said.out + &said.err) }
    });
}

/// A request to the API, for what the CLI has no flag for.
fn post(swarm: &Swarm, path: &str, body: &str) -> String {
    let socket = swarm.socket(1);
    let output = Command::new("curl")
        .args(["-s", "-m", "20", "--unix-socket"])
        .arg(&socket)
        .args(["-H", "Content-Type: application/json", "-d", body, &format!("http://skep{path}")])
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn container(swarm: &Swarm, service: &str) -> String {
    swarm.wait_running(1, service, 1);
    let filter = format!("label=com.docker.swarm.service.name={service}");
    swarm.docker(1, &["ps", "-q", "--no-trunc", "--filter", &filter]).expect()
}

#[test]
fn each_failure_has_its_sentence() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    let listener = |words: &[&str]| {
        let mut command = swarm.host(1).command("/bin/busybox");
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts")
    };
    let mut port = listener(&["nc", "-l", "-p", "9090"]);
    let mut registry = listener(&["httpd", "-f", "-p", "127.0.0.1:5000", "-h", "/"]);
    create(&swarm, "memory", &["--limit-memory", "16M"], "head -c 64m /dev/zero | tail");
    create(&swarm, "source", &["--mount", "type=bind,source=/no/such/place,target=/x"], "true");
    create(&swarm, "taken", &["--publish", "mode=host,published=9090,target=80"], "true");
    create(&swarm, "code", &[], "exit 3");
    create(
        &swarm,
        "sick",
        &["--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "1"],
        "sleep 1000",
    );
    create(&swarm, "setting", &["--sysctl", "kernel.panic=1"], "true");
    create(&swarm, "odd", &["--mount", "type=volume,source=odd,target=/x,volume-opt=colour=red"], "true");
    create(&swarm, "shimless", &[], "sleep 1000");
    let image = |name: &str, image: &str| {
        let words = ["service", "create", "--detach", "--no-resolve-image", "--restart-condition", "none", "--name"];
        swarm.docker(1, &[&words[..], &[name, image, "nosuch"]].concat()).expect();
    };
    image("program", "busybox");
    image("absent", "127.0.0.1:5000/none:1");
    let spec = |name: &str, privileges: &str| {
        let container = format!(r#"{{"Image": "busybox", "Command": ["true"], "Privileges": {privileges}}}"#);
        let body = format!(r#"{{"Name": "{name}", "TaskTemplate": {{"ContainerSpec": {container}}}}}"#);
        let answer = post(&swarm, "/v1.44/services/create", &body);
        assert!(answer.contains("ID"), "{answer}");
    };
    spec("armour", r#"{"AppArmor": {"Mode": "default"}}"#);
    // "{}" in base64.
    spec("filter", r#"{"Seccomp": {"Mode": "custom", "Profile": "e30="}}"#);
    let shimless = container(&swarm, "shimless");
    let pid = swarm.docker(1, &["inspect", "--format", "{{.State.Pid}}", &shimless]).expect();
    // On the host, whose numbers these are.
    let script = format!("shim=$(cut -d ' ' -f 4 /proc/{pid}/stat); cat /proc/$shim/comm; kill -KILL $shim");
    let killed = swarm.host(1).command("sh").args(["-c", &script]).output().expect("sh runs");
    assert_eq!(String::from_utf8_lossy(&killed.stdout), "skep-shim\n", "{killed:?}");
    for (service, sentence) in [
        ("memory", "task: non-zero exit (137): out of memory"),
        ("source", "Rejected"),
        ("source", "invalid mount config for type \"bind\": bind source path does not exist: /no/such/place"),
        ("taken", "9090"),
        ("taken", "port is already allocated"),
        ("code", "task: non-zero exit (3)"),
        ("sick", "task: non-zero exit (137): dockerexec: unhealthy container"),
        ("setting", "sysctl 'kernel.panic' is not in a separate kernel namespace"),
        ("odd", "mount /x: invalid option: \"colour\""),
        ("program", "starting container failed: exec: \"nosuch\": executable file not found in $PATH"),
        ("absent", "No such image: 127.0.0.1:5000/none:1"),
        ("absent", "manifest unknown"),
        ("shimless", "the container's shim is gone; nobody saw how the container ended"),
        ("armour", "no suitable node (AppArmor profiles not supported on 1 node)"),
        ("filter", "ContainerSpec.Privileges.Seccomp.Profile: missing field `defaultAction`"),
    ] {
        says(&swarm, service, sentence);
    }
    // A port that another task holds is known before any node is tried.
    create(&swarm, "holder", &["--publish", "mode=host,published=9191,target=80"], "sleep 1000");
    swarm.wait_running(1, "holder", 1);
    create(&swarm, "second", &["--publish", "mode=host,published=9191,target=80"], "sleep 1000");
    says(&swarm, "second", "no suitable node (host-mode port already in use on 1 node)");
    for child in [&mut port, &mut registry] {
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
}

#[test]
fn fields_reach_the_container_and_inspect_shows_them() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    let options = [
        "--env",
        "PLACE={{.Node.Hostname}}",
        "--hostname",
        "box-{{.Task.Slot}}",
        "--workdir",
        "/made/here",
        "--user",
        "33:44",
        "--group",
        "55",
        "--stop-signal",
        "SIGUSR1",
        "--stop-grace-period",
        "7s",
        "--init",
        "--read-only",
        "--host",
        "friend:192.0.2.7",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "example",
        "--dns-option",
        "ndots:3",
        "--health-cmd",
        "echo fine",
        "--health-interval",
        "300ms",
        "--health-start-period",
        "5s",
        "--health-start-interval",
        "100ms",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CHOWN",
        "--sysctl",
        "net.ipv4.ip_unprivileged_port_start=80",
        "--ulimit",
        "nofile=100:200",
        "--limit-pids",
        "50",
        "--limit-cpu",
        "0.5",
        "--limit-memory",
        "64M",
        "--reserve-memory",
        "16M",
        "--container-label",
        "tier=front",
        "--mount",
        "type=tmpfs,target=/scratch,tmpfs-size=1048576,tmpfs-mode=1770",
        "--mount",
        "type=volume,source=data,target=/data,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-label=a=b",
        "--log-driver",
        "json-file",
        "--log-opt",
        "max-size=1m",
        "--log-opt",
        "max-file=2",
    ];
    let script = "trap 'echo bye; exit 0' USR1; echo $PLACE; hostname; pwd; id; cat /etc/resolv.conf /etc/hosts; \
                  ulimit -n; grep -E ' /(scratch|data) ' /proc/mounts; echo up; while :; do sleep 0.1; done";
    create(&swarm, "full", &options, script);
    let id = container(&swarm, "full");
    wait_until("what the container saw", || {
        let logs = swarm.docker(1, &["service", "logs", "--raw", "full"]).out;
        if logs.contains("up\n") { Ok(()) } else { Err(logs) }
    });
    let logs = swarm.docker(1, &["logs", &id]).out;
    for expected in [
        "h1\nbox-1\n/made/here\nuid=33 gid=44 groups=44,55\nnameserver 192.0.2.53\nsearch example\noptions ndots:3\n",
        "192.0.2.7\tfriend\n",
        "\n100\n",
        "tmpfs /scratch tmpfs rw,nosuid,nodev,noexec",
        "size=1024k,mode=1770",
        "tmpfs /data tmpfs",
    ] {
        assert!(logs.contains(expected), "{expected:?} in\n{logs}");
    }
    let shown = |format: &str| swarm.docker(1, &["inspect", "--format", format, &id]).expect();
    for (format, expected) in [
        (
            "{{.Config.StopSignal}} {{.Config.StopTimeout}} {{.Config.User}} {{.Config.WorkingDir}}",
            "SIGUSR1 7 33:44 /made/here",
        ),
        ("{{.State.Health.Status}} {{.State.Health.FailingStreak}}", "healthy 0"),
        ("{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}", "0 fine"),
        (
            "{{json .Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}}",
            r#"["CMD","/bin/sh","-c","echo fine"] 300ms"#,
        ),
        (
            "{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Init}}",
            "[CAP_CHOWN] [ALL] true true",
        ),
        (
            "{{.HostConfig.Memory}} {{.HostConfig.MemoryReservation}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}",
            "67108864 16777216 500000000 50",
        ),
        ("{{.HostConfig.MemorySwap}} {{.HostConfig.Sysctls}}", "134217728 map[net.ipv4.ip_unprivileged_port_start:80]"),
        ("{{json .HostConfig.Ulimits}} {{.HostConfig.GroupAdd}}", r#"[{"Name":"nofile","Hard":200,"Soft":100}] [55]"#),
        (
            "{{.HostConfig.ExtraHosts}} {{.HostConfig.Dns}} {{.HostConfig.LogConfig}}",
            "[friend:192.0.2.7] [192.0.2.53] map[Config:map[max-file:2 max-size:1m] Type:json-file]",
        ),
        ("{{.Config.Labels.tier}} {{len .Mounts}}", "front 2"),
    ] {
        assert_eq!(shown(format).trim(), expected, "{format}");
    }
    // Its own stop signal, and in good order: the task ends well.
    swarm.docker(1, &["stop", &id]).expect();
    says(&swarm, "full", "Complete");
    assert!(swarm.docker(1, &["logs", &id]).out.contains("bye"));
    // One that hears nothing is killed after its grace period.
    create(&swarm, "deaf", &["--stop-grace-period", "300ms"], "trap '' TERM; while :; do sleep 0.1; done");
    let deaf = container(&swarm, "deaf");
    swarm.docker(1, &["stop", &deaf]).expect();
    says(&swarm, "deaf", "task: non-zero exit (137)");
}

#[test]
fn older_files_of_a_log_are_compressed_and_read() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    let options = ["--log-driver", "local", "--log-opt", "max-size=8k", "--log-opt", "max-file=4"];
    // Slowly enough that some is compressed while more is said.
    let script = "for i in $(seq 1 600); do echo line $i; [ $((i % 50)) = 0 ] && sleep 0.2; done; exec sleep 1000";
    create(&swarm, "talker", &options, script);
    let id = container(&swarm, "talker");
    let following = Command::new("docker")
        .args([
            "-H",
            &format!("unix://{}", swarm.socket(1).display()),
            "logs",
            "--follow",
            "--since",
            "2020-01-01",
            &id,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker runs");
    wait_until("the last line", || {
        let logs = swarm.docker(1, &["logs", "--tail", "1", &id]).out;
        if logs == "line 600\n" { Ok(()) } else { Err(logs) }
    });
    let path = swarm.docker(1, &["inspect", "--format", "{{.LogPath}}", &id]).expect();
    wait_until("three compressed files, and nothing half done", || {
        let there = |suffix: &str| std::path::Path::new(&format!("{path}{suffix}")).exists();
        let done = (1..4).all(|number| there(&format!(".{number}.gz")) && !there(&format!(".{number}")));
        if done && !there(".compressing") && !there(".4.gz") { Ok(()) } else { Err("not yet".to_owned()) }
    });
    let numbers = |text: &str| -> Vec<u32> {
        let number = |line: &str| line.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("a number");
        text.lines().map(number).collect()
    };
    let kept = numbers(&swarm.docker(1, &["logs", &id]).out);
    assert!(kept.len() > 200 && kept[0] > 1, "{kept:?}");
    assert_eq!(kept, (kept[0]..=600).collect::<Vec<_>>());
    assert_eq!(numbers(&swarm.docker(1, &["logs", "--tail", "150", &id]).out), (451..=600).collect::<Vec<_>>());
    let service = numbers(&swarm.docker(1, &["service", "logs", "--raw", "talker"]).expect());
    assert_eq!(service, kept);
    swarm.docker(1, &["service", "rm", "talker"]).expect();
    let followed = following.wait_with_output().expect("it ends");
    let followed = numbers(&String::from_utf8_lossy(&followed.stdout));
    assert!(followed.is_sorted_by(|one, next| one < next) && followed.last() == Some(&600), "{followed:?}");
}

#[test]
fn containers_are_looked_into_with_the_stock_cli() {
    let Some(mut swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    let options =
        ["--log-driver", "json-file", "--log-opt", "max-size=2k", "--log-opt", "max-file=2", "--limit-memory", "64M"];
    let script = "for i in $(seq 1 200); do echo line $i; done; exec sleep 1000";
    create(&swarm, "talker", &options, script);
    let id = container(&swarm, "talker");
    wait_until("the last line", || {
        let logs = swarm.docker(1, &["logs", "--tail", "1", &id]).out;
        if logs == "line 200\n" { Ok(()) } else { Err(logs) }
    });
    // Two files of two kilobytes hold the newest lines and no others.
    let kept = swarm.docker(1, &["logs", &id]).out;
    assert!(!kept.contains("line 1\n") && kept.contains("line 199\n") && kept.lines().count() < 100, "{kept}");
    let path = swarm.docker(1, &["inspect", "--format", "{{.LogPath}}", &id]).expect();
    let directory = std::path::Path::new(&path).parent().expect("a directory");
    let files = std::fs::read_dir(directory).expect("listed").flatten();
    assert_eq!(files.filter(|file| file.file_name().to_string_lossy().contains("-json.log")).count(), 2);

    let top = swarm.docker(1, &["top", &id]).expect();
    assert!(top.starts_with("UID") && top.contains("sleep 1000"), "{top}");
    let stats = swarm.docker(1, &["stats", "--no-stream", "--format", "{{.ID}} {{.MemUsage}} {{.PIDs}}", &id]).expect();
    assert!(stats.starts_with(&id[..12]) && stats.contains("/ 64MiB") && stats.ends_with(" 1"), "{stats}");

    let socket = swarm.socket(1).display().to_string();
    let terminal = |command: &str| {
        let line = format!("docker -H unix://{socket} exec -it {id} {command}");
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output();
        output.map(|output| (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let (code, said) = terminal("sh -c 'tty; exit 4'").expect("script (bsdutils) runs");
    assert!(said.contains("/dev/pts/"), "{said}");
    assert_eq!(code, Some(4), "{said}");
    let piped = Command::new("sh")
        .args(["-c", &format!("echo typed | docker -H unix://{socket} exec -i {id} cat")])
        .output()
        .expect("sh runs");
    assert_eq!(String::from_utf8_lossy(&piped.stdout), "typed\n");

    // An exec under way ends with its container, and nothing hangs on one that is gone.
    let mut held = Command::new("docker")
        .args(["-H", &format!("unix://{socket}"), "exec", &id, "sleep", "1000"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker runs");
    let mut following = Command::new("docker")
        .args(["-H", &format!("unix://{socket}"), "logs", "--follow", &id])
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .expect("docker runs");
    wait_until("the second process", || {
        let top = swarm.docker(1, &["top", &id]).out;
        if top.matches("sleep 1000").count() == 2 { Ok(()) } else { Err(top) }
    });
    swarm.docker(1, &["kill", &id]).expect();
    for child in [&mut held, &mut following] {
        wait_for("the client to end with the container", || child.try_wait().expect("waited").is_some());
    }
    for words in [&["exec", &id, "true"][..], &["top", &id], &["kill", &id]] {
        let refusal = swarm.docker(1, words).expect_failure();
        assert!(refusal.contains("is not running"), "{words:?}: {refusal}");
    }
    swarm.docker(1, &["stop", &id]).expect();
    swarm.docker(1, &["stats", "--no-stream", &id]).expect();

    // The daemon restarts: what runs is looked into as before, and its health is known again.
    create(
        &swarm,
        "steady",
        &[
            "--health-cmd",
            "true",
            "--health-interval",
            "1h",
            "--health-start-interval",
            "100ms",
            "--health-start-period",
            "1h",
        ],
        "echo before; exec sleep 1000",
    );
    let steady = container(&swarm, "steady");
    swarm.kill_daemon(1);
    swarm.start_daemon(1);
    wait_until("the health after the restart", || {
        let said = swarm.docker(1, &["inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", &steady]).out;
        if said.trim() == "running healthy" { Ok(()) } else { Err(said) }
    });
    assert_eq!(swarm.docker(1, &["exec", &steady, "echo", "inside"]).expect(), "inside");
    assert_eq!(swarm.docker(1, &["logs", &steady]).expect(), "before");
}

#[test]
fn unused_images_go_when_the_disk_fills() {
    let Some(mut swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    create(&swarm, "user", &[], "exec sleep 1000");
    let user = container(&swarm, "user");
    create(&swarm, "ended", &[], "echo written > /file; echo said");
    says(&swarm, "ended", "Complete");
    assert_eq!(swarm.stop_daemon(1), Some(0));
    // Any disk is fuller than that.
    swarm.start_daemon_with(1, &["--image-prune-above", "0", "--image-prune-age", "0s"]);
    let archive = crate::support::busybox_archive(swarm.lab.directory()).display().to_string();
    let import = |command: &str| {
        let change = format!("CMD [\"{command}\"]");
        swarm.docker(1, &["import", "-c", &change, &archive, "loaded:1"]).expect()
    };
    // The second takes the first one's name.
    let (nameless, named) = (import("true"), import("false"));
    wait_until("the nameless image to go", || {
        let images = swarm.docker(1, &["images", "-aq", "--no-trunc"]).out;
        if images.contains(&nameless) { Err(images) } else { Ok(()) }
    });
    let images = swarm.docker(1, &["images", "-q", "--no-trunc"]).expect();
    assert!(images.contains(&named) && images.lines().count() == 2, "what no registry has stays: {images}");
    let log = std::fs::read_to_string(swarm.host(1).directory().join("daemon.log")).expect("a log");
    assert!(log.contains(&nameless) && log.contains("removed images that nothing uses"), "{log}");
    assert_eq!(swarm.docker(1, &["ps", "-q", "--no-trunc"]).expect(), user, "what runs goes on");
    assert_eq!(swarm.docker(1, &["service", "logs", "--raw", "ended"]).expect(), "said", "logs stay");
}
