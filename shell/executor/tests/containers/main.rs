//! Real containers under real shims: needs root, runs in network namespaces of its own.

mod lab;
mod mesh;
mod specs;

use std::time::Duration;

use lab::{Lab, PATIENCE, config, id, only, run, run_twice, secret, shell};
use skep_executor::{ControllerError, Executor};
use skep_model::engine::{ContainerState, ExecSpec, LogQuery, LogStream};
use skep_model::pb::objects;
use skep_model::pb::types::{
    ConfigReference, ContainerSpec, FileTarget, HealthConfig, Mount, PortConfig, Privileges, ResourceRequirements,
    Resources, SecretReference, config_reference, mount, port_config, secret_reference,
};
use skep_model::{ConfigId, SecretId};
use tokio::io::AsyncWriteExt;

fn plain() -> ContainerSpec {
    ContainerSpec::default()
}

#[test]
fn a_container_runs_writes_and_ends() {
    run(async |lab| {
        let controller =
            lab.start(ContainerSpec { args: shell("echo out; echo err >&2; sleep 0.2; exit 7"), ..plain() }).await;
        let container = id(&controller);
        let end = controller.wait().await.expect_err("a code");
        assert_eq!(end.to_string(), "task: non-zero exit (7)");
        let out: Vec<_> = lab.lines(&container, only(LogStream::Stdout)).await;
        assert_eq!(&out[0].data[..], b"out\n");
        let err: Vec<_> = lab.lines(&container, only(LogStream::Stderr)).await;
        assert_eq!(&err[0].data[..], b"err\n");
        let shown = lab.runtime().container(&container).expect("known");
        assert_eq!((shown.state, shown.exit_code, shown.name.as_str()), (ContainerState::Exited, 7, "web.1.task1"));
        assert_eq!(shown.labels["com.docker.swarm.task.id"], "task1");
        controller.remove().await.expect("removed");
        assert!(lab.runtime().containers().is_empty());
        assert!(!lab.path("data/containers").join(&container).exists());
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        assert!(!mounts.contains(&container), "nothing stays mounted");
    });
}

#[test]
fn a_missing_program_is_said_in_dockers_words() {
    run(async |lab| {
        let order = lab.order(ContainerSpec { args: vec!["nosuch".to_owned()], ..plain() });
        let controller = lab.runtime().controller(order);
        controller.prepare().await.expect("prepared");
        let error = controller.start().await.expect_err("not there");
        assert_eq!(
            error.to_string(),
            "starting container failed: exec: \"nosuch\": executable file not found in $PATH"
        );
        controller.remove().await.expect("removed");
        let order = lab.order(ContainerSpec { args: shell("true"), user: "nobody".to_owned(), ..plain() });
        let controller = lab.runtime().controller(order);
        controller.prepare().await.expect("prepared");
        let error = controller.start().await.expect_err("no such user");
        let words = "starting container failed: unable to find user nobody: no matching entries in passwd file";
        assert!(matches!(error, ControllerError::NotStarted(_)) && error.to_string() == words, "{error}");
        controller.remove().await.expect("removed");
    });
}

#[test]
fn a_container_is_confined() {
    run(async |lab| {
        let script = "grep -E '^(CapEff|CapBnd|CapAmb|CapInh|Seccomp|NoNewPrivs|Groups):' /proc/self/status; hostname; \
             mknod /tmp/disk b 8 0 && echo node; cat /tmp/disk 2>&1 | head -c 80; echo; \
             head -c 4 /dev/zero | wc -c; unshare -m true 2>&1; echo irq $(wc -c < /proc/interrupts); \
             (echo x > /proc/sys/kernel/hostname) 2>&1; ls /sys/firmware | wc -l; echo pid $$; cat /etc/hostname; \
             mount -t tmpfs x /tmp 2>&1; dmesg 2>&1 | head -1; readlink /proc/1/exe; cat /proc/self/oom_score_adj";
        let (output, end) = lab
            .script(script, ContainerSpec { hostname: "{{.Service.Name}}-{{.Task.Slot}}".to_owned(), ..plain() })
            .await;
        assert_eq!(end, "complete", "{output}");
        for expected in [
            "CapEff:\t00000000a80425fb",
            "CapBnd:\t00000000a80425fb",
            "CapInh:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "Seccomp:\t2",
            "NoNewPrivs:\t0",
            "web-1\n",
            "node\n",
            "Operation not permitted",
            "\n4\n",
            "irq 0\n",
            "pid 1\n",
            "/bin/busybox",
        ] {
            assert!(output.contains(expected), "{expected:?} in\n{output}");
        }
        assert!(output.contains("unshare: unshare(0x20000): Operation not permitted"), "{output}");
        assert!(output.contains("Read-only file system"), "{output}");
        assert!(output.contains("can't open '/tmp/disk': Operation not permitted"), "{output}");
    });
}

#[test]
fn privileges_follow_the_spec() {
    run(async |lab| {
        let privileges = Privileges { no_new_privileges: true, ..Default::default() };
        let spec = ContainerSpec {
            user: "web".to_owned(),
            privileges: Some(privileges),
            capability_drop: vec!["ALL".to_owned()],
            read_only: true,
            ..plain()
        };
        let script = "id; grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status; touch /x 2>&1; echo $HOME";
        let (output, _) = lab.script(script, spec).await;
        for expected in [
            "uid=33(web) gid=33(web) groups=33(web),44(log)",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "Seccomp:\t2",
            "NoNewPrivs:\t1",
            "Read-only file system",
            "/tmp\n",
        ] {
            assert!(output.contains(expected), "{expected:?} in\n{output}");
        }
    });
}

#[test]
fn limits_hold() {
    run(async |lab| {
        let limits = Resources { memory_bytes: 16 << 20, nano_cpus: 500_000_000, ..Default::default() };
        let resources = ResourceRequirements { limits: Some(limits), ..Default::default() };
        let eat = ContainerSpec { args: shell("head -c 64m /dev/zero | tail"), pids_limit: 10, ..plain() };
        let with = |task: &mut objects::Task| {
            task.spec = task.spec.take().map(|spec| spec.edit(|spec| spec.resources = Some(resources)));
        };
        let order = lab.order_with(eat, with);
        let controller = lab.start_order(order).await;
        let error = tokio::time::timeout(PATIENCE, controller.wait()).await.expect("it ends").expect_err("killed");
        assert!(error.to_string().contains("out of memory"), "{error}");
        let shown = lab.runtime().container(&id(&controller)).expect("known");
        assert!(shown.oom_killed);
        controller.remove().await.expect("removed");
        let many = "for i in $(seq 20); do sleep 2 & done 2>&1; echo done";
        let (output, _) = lab.script(many, ContainerSpec { pids_limit: 5, ..plain() }).await;
        assert!(output.contains("fork") || output.contains("Resource temporarily unavailable"), "{output}");
    });
}

#[test]
fn stopping_is_asked_for_then_forced() {
    run(async |lab| {
        let polite = lab
            .start(ContainerSpec {
                args: shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done"),
                ..plain()
            })
            .await;
        lab.hears(&id(&polite), "up").await;
        polite.shutdown().await.expect("stopped");
        assert_eq!(polite.wait().await.expect_err("a code").exit_code(), Some(3));
        assert!(lab.output(&id(&polite)).await.contains("bye"));
        let grace = Some(prost_types::Duration { seconds: 0, nanos: 300_000_000 });
        let deaf = ContainerSpec {
            args: shell("trap '' TERM; echo up; while :; do sleep 0.1; done"),
            stop_grace_period: grace,
            ..plain()
        };
        let deaf = lab.start(deaf).await;
        lab.hears(&id(&deaf), "up").await;
        deaf.shutdown().await.expect("stopped");
        assert_eq!(deaf.wait().await.expect_err("a code").exit_code(), Some(137));
        let quit = ContainerSpec {
            args: shell("trap 'exit 5' USR1; echo up; while :; do sleep 0.1; done"),
            stop_signal: "SIGUSR1".to_owned(),
            ..plain()
        };
        let quit = lab.start(quit).await;
        lab.hears(&id(&quit), "up").await;
        quit.shutdown().await.expect("stopped");
        assert_eq!(quit.wait().await.expect_err("a code").exit_code(), Some(5));
    });
}

#[test]
fn an_init_passes_signals_and_reaps() {
    run(async |lab| {
        let script = "trap 'echo got; exit 4' TERM; (sleep 0.1 &); echo up $$; while :; do sleep 0.1; done";
        let controller = lab.start(ContainerSpec { args: shell(script), init: Some(true), ..plain() }).await;
        let container = id(&controller);
        lab.hears(&container, "up 2").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let table = lab.runtime().top(&container, "-eo pid,stat,comm").await.expect("a table");
        assert!(table.processes.iter().all(|row| !row[1].starts_with('Z')), "{table:?}");
        controller.shutdown().await.expect("stopped");
        assert_eq!(controller.wait().await.expect_err("a code").exit_code(), Some(4));
    });
}

#[test]
fn containers_survive_the_daemon() {
    let first = async |lab: &mut Lab| {
        let script = "trap 'exit 9' TERM; echo one; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo two; \
             while :; do sleep 0.1; done";
        let order = lab.order(ContainerSpec { args: shell(script), ..plain() });
        let controller = lab.start_order(order.clone()).await;
        let container = id(&controller);
        lab.hears(&container, "one").await;
        (order, controller.report().container.expect("a container"))
    };
    run_twice(first, async |lab, (order, before)| {
        let container = before.container_id.clone();
        let shown = lab.runtime().container(&container).expect("taken over");
        assert_eq!((shown.state, shown.pid), (ContainerState::Running, before.pid));
        let after = lab.runtime().controller(order);
        after.prepare().await.expect("prepared already");
        after.start().await.expect("started already");
        assert_eq!(after.report().container, Some(before));
        let neighbour = lab.start(ContainerSpec { args: shell("sleep 1000"), ..plain() }).await;
        let address = |id: &str| lab.runtime().container(id).expect("known").ip_address;
        assert_ne!(address(&id(&neighbour)), address(&container), "its address is still its own");
        let touch = lab.runtime().create_exec(exec(&container, &["touch", "/tmp/go"])).await.expect("made");
        let mut session = lab.runtime().start_exec(&touch, false).await.expect("started");
        assert!(session.output.recv().await.is_none());
        lab.hears(&container, "two").await;
        let (output, _) = lab.script(&format!("ping -c 1 -W 5 {}", address(&container).expect("one")), plain()).await;
        assert!(output.contains("1 packets received"), "{output}");
        after.shutdown().await.expect("stopped");
        assert_eq!(after.wait().await.expect_err("a code").exit_code(), Some(9));
        after.remove().await.expect("removed");
        neighbour.terminate().await.expect("killed");
    });
}

#[test]
fn a_killed_shim_takes_its_container_along() {
    run(async |lab| {
        let controller = lab.start(ContainerSpec { args: shell("sleep 1000"), ..plain() }).await;
        let container = id(&controller);
        let status = std::fs::read(lab.path("data/containers").join(&container).join("status.json")).expect("status");
        let status: serde_json::Value = serde_json::from_slice(&status).expect("json");
        let shim = i32::try_from(status["shim_pid"].as_i64().expect("a number")).expect("a pid");
        let stat = std::fs::read_to_string(format!("/proc/{shim}/stat")).expect("a shim");
        let parent = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(1)).expect("a field");
        let parent = parent.parse::<i32>().expect("a pid");
        let pid = controller.report().container.expect("a container").pid;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).expect("killed");
        let error = tokio::time::timeout(PATIENCE, controller.wait()).await.expect("it ends").expect_err("lost");
        assert_eq!(error.exit_code(), Some(255));
        controller.remove().await.expect("removed");
        assert!(!std::path::Path::new(&format!("/proc/{pid}/ns/net")).exists(), "its process is gone");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(parent), nix::sys::signal::Signal::SIGKILL).expect("killed");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (output, _) = lab.script("echo again", plain()).await;
        assert_eq!(output, "again\n", "shims are forked from a new process");
    });
}

fn exec(container: &str, command: &[&str]) -> ExecSpec {
    ExecSpec {
        container_id: container.to_owned(),
        command: command.iter().map(ToString::to_string).collect(),
        attach_stdout: true,
        attach_stderr: true,
        ..Default::default()
    }
}

#[test]
fn further_processes_run_confined_with_streams_and_terminals() {
    run(async |lab| {
        let controller =
            lab.start(ContainerSpec { args: shell("sleep 1000"), env: vec!["A=1".to_owned()], ..plain() }).await;
        let container = id(&controller);
        let runtime = lab.runtime().clone();
        let all = async |spec: ExecSpec, input: &[u8]| {
            let id = runtime.create_exec(spec).await.expect("made");
            let mut session = runtime.start_exec(&id, false).await.expect("started");
            if let Some(mut stdin) = session.input.take() {
                stdin.write_all(input).await.expect("written");
            }
            let mut output = String::new();
            while let Some((_, piece)) = tokio::time::timeout(PATIENCE, session.output.recv()).await.expect("it ends") {
                output.push_str(&String::from_utf8_lossy(&piece));
            }
            (output, runtime.exec(&id).await.expect("known").exit_code)
        };
        let script = "echo $A; grep -E '^(CapEff|Seccomp|NSpid):' /proc/self/status; unshare -m true 2>&1; ls /proc/self/fd; exit 5";
        let (output, code) = all(exec(&container, &["sh", "-c", script]), b"").await;
        assert_eq!(code, Some(5));
        for expected in ["1\n", "CapEff:\t00000000a80425fb", "Seccomp:\t2", "Operation not permitted"] {
            assert!(output.contains(expected), "{expected:?} in\n{output}");
        }
        assert!(!output.contains("\n4\n"), "no descriptor leaks:\n{output}");
        let (output, code) = all(ExecSpec { attach_stdin: true, ..exec(&container, &["cat"]) }, b"hello").await;
        assert_eq!((output.as_str(), code), ("hello", Some(0)));
        let as_user = ExecSpec {
            user: "web".to_owned(),
            working_dir: "/tmp".to_owned(),
            ..exec(&container, &["sh", "-c", "id -un; echo $PWD"])
        };
        assert_eq!(all(as_user, b"").await.0, "web\n/tmp\n");
        let (output, _) = all(ExecSpec { tty: true, ..exec(&container, &["sh", "-c", "tty; stty size"]) }, b"").await;
        assert!(output.contains("/dev/pts/"), "{output}");
        let missing = runtime.create_exec(exec(&container, &["nosuch"])).await.expect("made");
        let error = runtime.start_exec(&missing, false).await.err().expect("not there");
        assert!(error.message.contains("executable file not found"), "{error}");
        let table = runtime.top(&container, "").await.expect("a table");
        assert!(
            table.processes.iter().any(|row| row.last().is_some_and(|command| command == "sleep 1000")),
            "{table:?}"
        );
        let columns = runtime.top(&container, "-o pid,args").await.expect("a table");
        assert!(columns.processes.iter().any(|row| row[1] == "sleep 1000"), "{columns:?}");
        let stats = runtime.stats(&container).await.expect("a reading");
        assert!(stats.memory_usage_bytes > 0 && stats.pids >= 1, "{stats:?}");
        controller.terminate().await.expect("killed");
    });
}

#[test]
fn a_terminal_has_a_size() {
    run(async |lab| {
        let script = "tty; while [ ! -e /tmp/go ]; do sleep 0.05; done; stty size";
        let controller = lab.start(ContainerSpec { args: shell(script), tty: true, ..plain() }).await;
        let container = id(&controller);
        lab.hears(&container, "/dev/pts/0").await;
        lab.runtime().resize(&container, 40, 123).await.expect("resized");
        let touch = lab.runtime().create_exec(exec(&container, &["touch", "/tmp/go"])).await.expect("made");
        let mut session = lab.runtime().start_exec(&touch, false).await.expect("started");
        assert!(session.output.recv().await.is_none());
        controller.wait().await.expect("complete");
        assert!(lab.output(&container).await.contains("40 123"));
    });
}

#[test]
fn files_appear_where_they_should() {
    run(async |lab| {
        let target = |name: &str, mode: u32| FileTarget {
            name: name.to_owned(),
            uid: "33".to_owned(),
            gid: "44".to_owned(),
            mode,
        };
        let host = lab.path("host");
        std::fs::create_dir(&host).expect("made");
        std::fs::write(host.join("file"), "of the host").expect("written");
        let mounted = |kind: mount::Type, source: &str, target: &str, readonly: bool| Mount {
            r#type: kind.into(),
            source: source.to_owned(),
            target: target.to_owned(),
            readonly,
            ..Default::default()
        };
        let spec = ContainerSpec {
            secrets: vec![SecretReference {
                secret_id: "secret1".to_owned(),
                secret_name: "key".to_owned(),
                target: Some(secret_reference::Target::File(target("key", 0o440))),
            }],
            configs: vec![ConfigReference {
                config_id: "config1".to_owned(),
                config_name: "conf".to_owned(),
                target: Some(config_reference::Target::File(target("/etc/app/conf", 0o444))),
            }],
            mounts: vec![
                mounted(mount::Type::Bind, host.to_str().expect("text"), "/host", true),
                mounted(mount::Type::Volume, "named", "/data", false),
                mounted(mount::Type::Tmpfs, "", "/scratch", false),
            ],
            hosts: vec!["10.1.2.3 friend".to_owned()],
            ..plain()
        };
        let script = "cat /run/secrets/key; stat -c ' %a %u %g' /run/secrets/key; cat /etc/app/conf; cat /host/file; \
             (echo x > /host/file) 2>&1; cat /data/seed; echo kept > /data/new; grep scratch /proc/mounts; \
             cat /etc/hosts; grep nameserver /etc/resolv.conf";
        let mut order = lab.order(ContainerSpec { args: shell(script), ..spec.clone() });
        order.secrets.insert(SecretId::new("secret1").expect("id"), secret("secret1", b"sesame"));
        order.configs.insert(ConfigId::new("config1").expect("id"), config("config1", b"conf=1\n"));
        let (output, end) = lab.script_order(order).await;
        for expected in [
            "sesame 440 33 44\n",
            "conf=1\n",
            "of the host",
            "Read-only file system",
            "from the image\n",
            "tmpfs /scratch tmpfs",
            "10.1.2.3\tfriend",
            "nameserver",
        ] {
            assert!(output.contains(expected), "{expected:?} in\n{output}\n{end}");
        }
        assert_eq!(std::fs::read_to_string(lab.path("data/volumes/named/_data/new")).expect("kept"), "kept\n");
        let order = lab.order(ContainerSpec { args: shell("true"), ..spec });
        let controller = lab.runtime().controller(order);
        let error = controller.prepare().await.expect_err("no secret");
        assert!(error.to_string().contains("secret reference key"), "{error}");
    });
}

#[test]
fn health_decides() {
    run(async |lab| {
        let check = |test: &str| HealthConfig {
            test: vec!["CMD-SHELL".to_owned(), test.to_owned()],
            interval: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
            retries: 2,
            ..Default::default()
        };
        let good = ContainerSpec {
            args: shell("sleep 0.3; touch /tmp/ok; sleep 1000"),
            healthcheck: Some(HealthConfig { retries: 1000, ..check("test -e /tmp/ok") }),
            ..plain()
        };
        let good = lab.start(good).await;
        let shown = lab.runtime().container(&id(&good)).expect("known");
        assert_eq!(shown.health, Some(skep_model::engine::Health::Healthy));
        good.terminate().await.expect("killed");
        let order =
            lab.order(ContainerSpec { args: shell("sleep 1000"), healthcheck: Some(check("false")), ..plain() });
        let bad = lab.runtime().controller(order);
        bad.prepare().await.expect("prepared");
        let error = tokio::time::timeout(PATIENCE, bad.start()).await.expect("it ends").expect_err("unhealthy");
        assert!(error.to_string().ends_with(": dockerexec: unhealthy container"), "{error}");
    });
}

#[test]
fn the_bridge_connects_and_publishes() {
    run(async |lab| {
        let port = |published_port: u32| PortConfig {
            protocol: port_config::Protocol::Tcp.into(),
            target_port: 80,
            published_port,
            publish_mode: port_config::PublishMode::Host.into(),
            ..Default::default()
        };
        let serve = "mkdir -p /tmp/w; echo hello > /tmp/w/index.html; httpd -f -p 80 -h /tmp/w";
        let serve = serve.replace("mkdir", "/bin/busybox mkdir");
        let publish = |task: &mut objects::Task| {
            task.endpoint = Some(objects::Endpoint { ports: vec![port(0)], ..Default::default() });
        };
        let order = lab.order_with(ContainerSpec { args: shell(&serve), ..plain() }, publish);
        let server = lab.start_order(order).await;
        let shown = lab.runtime().container(&id(&server)).expect("known");
        let address = shown.ip_address.expect("an address");
        let reported = server.report().ports.expect("ports").ports.remove(0);
        assert_ne!(reported.published_port, 0);
        let published = reported.published_port;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let addresses = [
            format!("{address}:80"),
            format!("127.0.0.1:{published}"),
            format!("{}:{published}", lab.gateway()),
            format!("[::1]:{published}"),
        ];
        for url in addresses {
            assert!(fetch(&url).await.contains("hello"), "{url}");
        }
        let script =
            format!("ping -c 1 -W 5 {address}; wget -qO- http://{}:{published}/; ip addr; ip route", lab.gateway());
        let (output, end) = lab.script(&script, plain()).await;
        assert!(output.contains("1 packets received") && output.contains("hello"), "{output} {end}");
        let taken = |task: &mut objects::Task| {
            task.endpoint = Some(objects::Endpoint { ports: vec![port(published)], ..Default::default() });
        };
        let second = lab.order_with(ContainerSpec { args: shell("true"), ..plain() }, taken);
        let second = lab.runtime().controller(second);
        second.prepare().await.expect("prepared");
        let error = second.start().await.expect_err("taken");
        assert!(error.to_string().contains("port is already allocated"), "{error}");
        server.remove().await.expect("removed");
        for host in ["127.0.0.1", "[::1]"] {
            assert!(!fetch(&format!("{host}:{published}")).await.contains("hello"), "{host}");
        }
    });
}

async fn fetch(address: &str) -> String {
    use tokio::io::AsyncReadExt;
    let Ok(Ok(mut stream)) =
        tokio::time::timeout(Duration::from_secs(2), tokio::net::TcpStream::connect(address)).await
    else {
        return String::new();
    };
    let mut text = String::new();
    let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
    let read = tokio::time::timeout(Duration::from_secs(2), stream.read_to_string(&mut text)).await;
    if asked.is_ok() && read.is_ok() { text } else { String::new() }
}

#[test]
fn logs_are_tailed_and_followed() {
    run(async |lab| {
        let script =
            "for i in $(seq 1 5); do echo line $i; done; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo last";
        let controller = lab.start(ContainerSpec { args: shell(script), ..plain() }).await;
        let container = id(&controller);
        lab.hears(&container, "line 5").await;
        let tail = lab.lines(&container, LogQuery { tail: Some(2), ..only(LogStream::Stdout) }).await;
        assert_eq!(tail.iter().map(|line| line.data.as_ref()).collect::<Vec<_>>(), [b"line 4\n", b"line 5\n"]);
        let query = LogQuery { follow: true, tail: Some(1), ..only(LogStream::Stdout) };
        let mut follower = lab.runtime().logs(&container, query).await.expect("a log");
        assert_eq!(&follower.recv().await.expect("a line").expect("fine").data[..], b"line 5\n");
        let touch = lab.runtime().create_exec(exec(&container, &["touch", "/tmp/go"])).await.expect("made");
        let started = lab.runtime().start_exec(&touch, true).await;
        assert!(started.is_ok(), "{:?}", started.err());
        let next = tokio::time::timeout(PATIENCE, follower.recv()).await.expect("it comes");
        assert_eq!(&next.expect("a line").expect("fine").data[..], b"last\n");
        assert!(tokio::time::timeout(PATIENCE, follower.recv()).await.expect("it ends").is_none());
    });
}

#[test]
fn ending_a_start_under_way_leaves_nothing() {
    run(async |lab| {
        for pause_ms in [0, 5, 15, 40] {
            let order = lab.order(ContainerSpec { args: shell("sleep 1000"), ..plain() });
            let controller = lab.runtime().controller(order);
            controller.prepare().await.expect("prepared");
            let container = id(&controller);
            let starting = tokio::spawn({
                let controller = controller.clone();
                async move { controller.start().await }
            });
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            starting.abort();
            tokio::time::timeout(PATIENCE, controller.remove()).await.expect("it ends").expect("removed");
            assert!(lab.runtime().containers().is_empty());
            let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
            assert!(!mounts.contains(&container), "nothing stays mounted");
            for hierarchy in std::fs::read_dir("/sys/fs/cgroup").expect("cgroups") {
                let left = lab.cgroups(&hierarchy.expect("an entry").path()).join(&container);
                assert!(!left.exists(), "{}", left.display());
            }
        }
    });
}

/// Not a law but a figure: printed with `--nocapture`.
#[test]
fn twelve_containers_start_together() {
    run(async |lab| {
        let mut controllers = Vec::new();
        for _ in 0..12 {
            let order = lab.order(ContainerSpec { args: vec!["sleep".to_owned(), "1000".to_owned()], ..plain() });
            controllers.push(lab.runtime().controller(order));
        }
        let began = std::time::Instant::now();
        let starts: Vec<_> = controllers
            .iter()
            .cloned()
            .map(|controller| {
                tokio::spawn(async move {
                    controller.prepare().await.expect("prepared");
                    controller.start().await.expect("started");
                })
            })
            .collect();
        for start in starts {
            start.await.expect("started");
        }
        println!("12 containers running after {:?}", began.elapsed());
        let status = std::fs::read(lab.path("data/containers").join(id(&controllers[0])).join("status.json"));
        let status: serde_json::Value = serde_json::from_slice(&status.expect("status")).expect("json");
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", status["shim_pid"])).expect("a shim");
        println!("a shim's memory:\n{rollup}");
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", status["shim_pid"])).expect("a shim");
        assert_eq!(comm, "skep-shim\n");
        for controller in &controllers {
            controller.terminate().await.expect("killed");
            controller.remove().await.expect("removed");
        }
    });
}
