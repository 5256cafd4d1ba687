//! Fields of specs, as containers see them.

use std::time::Duration;

use skep_executor::{ControllerError, Executor, TaskOrder};
use skep_model::engine::Health;
use skep_model::pb::objects;
use skep_model::pb::types::generic_resource::Resource;
use skep_model::pb::types::{
    ContainerSpec, DiscreteGenericResource, Driver, GenericResource, HealthConfig, Mount, Privileges,
    ResourceRequirements, Resources, container_spec, mount, privileges,
};
use skep_model::upkeep::UpkeepPolicy;

use crate::lab::{IMAGE, Lab, PATIENCE, id, run, run_twice, run_unified, shell};

fn plain() -> ContainerSpec {
    ContainerSpec::default()
}

fn pairs(list: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn with_resources(lab: &mut Lab, spec: ContainerSpec, resources: ResourceRequirements) -> TaskOrder {
    lab.order_with(spec, |task: &mut objects::Task| {
        task.spec = task.spec.take().map(|spec| spec.edit(|spec| spec.resources = Some(resources)));
        let gpus = DiscreteGenericResource { kind: "gpu".to_owned(), value: 2 };
        task.assigned_generic_resources =
            vec![GenericResource { resource: Some(Resource::DiscreteResourceSpec(gpus)) }];
    })
}

async fn refused(lab: &mut Lab, spec: ContainerSpec) -> String {
    let order = lab.order(ContainerSpec { args: shell("true"), ..spec });
    let controller = lab.runtime().controller(order);
    let outcome = match controller.prepare().await {
        Ok(()) => controller.start().await,
        error => error,
    };
    let error = outcome.expect_err("refused");
    controller.remove().await.expect("removed");
    error.to_string()
}

#[test]
fn every_setting_arrives() {
    run(async |lab| {
        let ulimit = |name: &str, soft: i64, hard: i64| container_spec::Ulimit { name: name.to_owned(), soft, hard };
        let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let dns = container_spec::DnsConfig {
            nameservers: strings(&["192.0.2.53"]),
            search: strings(&["one.example", "two.example"]),
            options: strings(&["ndots:3"]),
        };
        let spec = ContainerSpec {
            args: shell(
                "pwd; id; hostname; cat /etc/resolv.conf; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; \
                 cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni; echo $DOCKER_RESOURCE_GPU; \
                 cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes \
                 /sys/fs/cgroup/memory/memory.soft_limit_in_bytes /sys/fs/cgroup/memory/memory.swappiness \
                 /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/pids/pids.max; grep CapEff /proc/self/status; \
                 touch /denied 2>&1; grep \" /work \" /proc/mounts",
            ),
            env: strings(&["PLACE={{.Node.Hostname}}"]),
            dir: "/work/deep".to_owned(),
            groups: strings(&["log", "77"]),
            hostname: "{{.Service.Name}}-box".to_owned(),
            dns_config: Some(dns),
            ulimits: vec![ulimit("nofile", 100, 200)],
            oom_score_adj: 321,
            sysctls: pairs(&[("net.ipv4.ip_unprivileged_port_start", "80"), ("kernel.shmmni", "1234")]),
            pids_limit: 50,
            read_only: true,
            capability_drop: strings(&["ALL"]),
            capability_add: strings(&["CAP_CHOWN"]),
            mounts: vec![Mount {
                r#type: mount::Type::Tmpfs.into(),
                target: "/work".to_owned(),
                tmpfs_options: Some(mount::TmpfsOptions { size_bytes: 1 << 20, mode: 0o750, ..Default::default() }),
                ..Default::default()
            }],
            ..plain()
        };
        let limits = Resources { memory_bytes: 64 << 20, nano_cpus: 250_000_000, ..Default::default() };
        let reservations = Resources { memory_bytes: 32 << 20, ..Default::default() };
        let resources = ResourceRequirements {
            limits: Some(limits),
            reservations: Some(reservations),
            swap_bytes: Some(16 << 20),
            memory_swappiness: Some(10),
        };
        let order = with_resources(lab, spec, resources);
        let (output, end) = lab.script_order(order).await;
        for expected in [
            "/work/deep\n",
            "groups=0(root),44(log),77",
            "web-box\n",
            "nameserver 192.0.2.53\nsearch one.example two.example\noptions ndots:3\n",
            "\n100\n200\n",
            "\n321\n",
            "\n80\n1234\n",
            "\n2\n67108864\n83886080\n33554432\n10\n25000\n50\n",
            "CapEff:\t0000000000000001\n",
            "Read-only file system",
            "size=1024k,mode=750",
        ] {
            assert!(output.contains(expected), "{expected:?} in\n{output}\n{end}");
        }
    });
}

#[test]
fn what_this_host_cannot_do_is_refused_by_name() {
    run(async |lab| {
        let sysctl = |name: &str| ContainerSpec { sysctls: pairs(&[(name, "1")]), ..plain() };
        let said = refused(lab, sysctl("kernel.panic")).await;
        assert_eq!(said, "sysctl 'kernel.panic' is not in a separate kernel namespace");
        let said = refused(lab, sysctl("net.core.nosuch")).await;
        assert_eq!(said, "sysctl 'net.core.nosuch': this host's kernel has no such setting");
        if !skep_executor::host_abilities().contains(skep_model::Ability::AppArmor) {
            let privileges = Privileges { apparmor: Some(Default::default()), ..Default::default() };
            let said = refused(lab, ContainerSpec { privileges: Some(privileges), ..plain() }).await;
            assert_eq!(said, "ContainerSpec.Privileges.AppArmor: this host does not support AppArmor profiles");
        }
        let cap = ContainerSpec { capability_add: vec!["CAP_FLY".to_owned()], ..plain() };
        assert!(refused(lab, cap).await.contains("invalid capability: \"CAP_FLY\""));
        let wild = ContainerSpec { sysctls: pairs(&[("net.ipv4.ip_unprivileged_port_start", "many")]), ..plain() };
        let said = refused(lab, wild).await;
        let wanted = "sysctl net.ipv4.ip_unprivileged_port_start=many: Invalid argument";
        assert!(said.starts_with("starting container failed: ") && said.contains(wanted), "{said}");
        let huge = mount::TmpfsOptions { size_bytes: i64::MAX, options: String::new(), mode: 0 };
        let target = "/etc/passwd".to_owned();
        let over = Mount { r#type: mount::Type::Tmpfs.into(), target, tmpfs_options: Some(huge), ..Default::default() };
        let said = refused(lab, ContainerSpec { mounts: vec![over], ..plain() }).await;
        assert!(said.contains("/etc/passwd"), "the mount that failed is named: {said}");
        let bind = Mount { source: "/no/such/place".to_owned(), target: "/data".to_owned(), ..Default::default() };
        let said = refused(lab, ContainerSpec { mounts: vec![bind], ..plain() }).await;
        assert!(said.ends_with("bind source path does not exist: /no/such/place"), "{said}");
        let over = Mount { source: "/tmp".to_owned(), target: "/proc/sys".to_owned(), ..Default::default() };
        let said = refused(lab, ContainerSpec { mounts: vec![over], ..plain() }).await;
        assert_eq!(said, "mount /proc/sys: /proc/sys cannot be mounted because it is inside /proc");
        assert!(refused(lab, ContainerSpec { dir: "relative".to_owned(), ..plain() }).await.contains("absolute"));
    });
}

#[test]
fn system_calls_are_filtered_by_a_profile_of_ones_own() {
    run(async |lab| {
        let with = |mode: privileges::seccomp_opts::SeccompMode, profile: &str| {
            let seccomp = privileges::SeccompOpts { mode: mode.into(), profile: profile.as_bytes().to_vec().into() };
            ContainerSpec { privileges: Some(Privileges { seccomp: Some(seccomp), ..Default::default() }), ..plain() }
        };
        let script = "grep ^Seccomp: /proc/self/status; touch /tmp/x; chmod 600 /tmp/x 2>&1; mkdir /tmp/y && echo made";
        let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#;
        let own = with(privileges::seccomp_opts::SeccompMode::Custom, profile);
        let (output, end) = lab.script(script, own.clone()).await;
        assert!(output.contains("Seccomp:\t2") && output.contains("Function not implemented"), "{output} {end}");
        assert!(output.contains("made"), "{output}");
        let (output, _) = lab.script(script, with(privileges::seccomp_opts::SeccompMode::Unconfined, "")).await;
        assert!(output.contains("Seccomp:\t0") && !output.contains("chmod:"), "{output}");
        let said = refused(lab, with(privileges::seccomp_opts::SeccompMode::Custom, "{}")).await;
        assert!(said.starts_with("ContainerSpec.Privileges.Seccomp.Profile: missing field"), "{said}");
        let first = lab.start(ContainerSpec { args: shell("sleep 1000"), ..own }).await;
        let shown = lab.runtime().container(&id(&first)).expect("known").settings;
        assert_eq!(shown.security_options, [format!("seccomp={profile}")]);
        first.terminate().await.expect("killed");
    });
}

fn volume(source: &str, target: &str, options: mount::VolumeOptions) -> Mount {
    Mount {
        r#type: mount::Type::Volume.into(),
        source: source.to_owned(),
        target: target.to_owned(),
        volume_options: Some(options),
        ..Default::default()
    }
}

#[test]
fn parts_of_volumes_appear_and_lead_nowhere_else() {
    run(async |lab| {
        let part = |subpath: &str| {
            let options = mount::VolumeOptions { subpath: subpath.to_owned(), ..Default::default() };
            ContainerSpec { mounts: vec![volume("data", "/part", options)], ..plain() }
        };
        let whole = ContainerSpec { mounts: vec![volume("data", "/all", Default::default())], ..plain() };
        let fill = "mkdir -p /all/a/b; echo deep > /all/a/b/file; ln -s /etc /all/away; ln -s a/b /all/near";
        let (output, end) = lab.script(fill, whole.clone()).await;
        assert_eq!(end, "complete", "{output}");
        let (output, end) = lab.script("cat /part/file; echo more > /part/other", part("a/b")).await;
        assert_eq!((output.as_str(), end.as_str()), ("deep\n", "complete"));
        assert_eq!(lab.script("cat /part/other", part("near")).await.0, "more\n", "a link inside the volume");
        assert_eq!(lab.script("cat /part", part("a/b/file")).await.0, "deep\n", "a single file");
        for (subpath, word) in [("nosuch", "No such file"), ("away", "cross-device")] {
            let said = refused(lab, part(subpath)).await;
            assert!(
                said.starts_with("starting container failed: cannot access path ") && said.contains(word),
                "{said}"
            );
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        assert!(!mounts.contains(lab.path("run").to_str().expect("text")), "nothing stays mounted:\n{mounts}");
    });
}

#[test]
fn volumes_are_mounted_as_their_options_say() {
    run(async |lab| {
        let place = lab.path("place");
        std::fs::create_dir(&place).expect("made");
        std::fs::write(place.join("file"), "of the host\n").expect("written");
        let with = |name: &str, options: &[(&str, &str)]| {
            let driver = Driver { name: "local".to_owned(), options: pairs(options) };
            let labels = pairs(&[("tier", "fast")]);
            let options = mount::VolumeOptions { driver_config: Some(driver), labels, ..Default::default() };
            ContainerSpec { mounts: vec![volume(name, "/data", options)], ..plain() }
        };
        let memory = with("scratch", &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,mode=700")]);
        let first = lab
            .start(ContainerSpec { args: shell("echo kept > /data/x; echo ready; sleep 1000"), ..memory.clone() })
            .await;
        lab.hears(&id(&first), "ready").await;
        let (output, _) = lab.script("cat /data/x; grep ' /data ' /proc/mounts", memory.clone()).await;
        assert!(output.contains("kept\n") && output.contains("size=1024k,mode=700"), "{output}");
        let mounted = || {
            let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
            mounts.contains("volumes/scratch/_data")
        };
        assert!(mounted(), "its other user still runs");
        first.terminate().await.expect("killed");
        first.remove().await.expect("removed");
        assert!(!mounted(), "its last user has ended");
        let record = std::fs::read_to_string(lab.path("data/volumes/scratch/volume.json")).expect("a record");
        assert!(record.contains(r#""labels":{"tier":"fast"}"#), "{record}");
        let said = refused(lab, with("scratch", &[])).await;
        assert!(said.contains("volume scratch is on this node with other driver options"), "{said}");
        let here = place.to_str().expect("text");
        let bound = with("bound", &[("type", "none"), ("device", here), ("o", "bind,ro")]);
        let (output, _) = lab.script("cat /data/file; touch /data/new 2>&1", bound).await;
        assert!(output.contains("of the host\n") && output.contains("Read-only file system"), "{output}");
        let missing = with("missing", &[("type", "none"), ("device", "/no/such/place"), ("o", "bind")]);
        let said = refused(lab, missing).await;
        let words = "starting container failed: failed to mount local volume: mount /no/such/place:";
        assert!(said.starts_with(words), "{said}");
        assert!(said.ends_with("No such file or directory (os error 2)"), "{said}");
        let said = refused(lab, with("odd", &[("colour", "red")])).await;
        assert!(said.contains("invalid option: \"colour\""), "{said}");
    });
}

#[test]
fn a_mounted_volume_is_kept_for_whom_a_new_daemon_finds_running() {
    let with = |script: &str| {
        let options = pairs(&[("type", "tmpfs"), ("device", "tmpfs")]);
        let driver_config = Some(Driver { name: "local".to_owned(), options });
        let options = mount::VolumeOptions { driver_config, ..Default::default() };
        ContainerSpec { args: shell(script), mounts: vec![volume("scratch", "/data", options)], ..plain() }
    };
    let first = async move |lab: &mut Lab| {
        // Some of the ended ones come before the running one, whatever order they are found in.
        for _ in 0..4 {
            let ended = lab.start(with("true")).await;
            ended.wait().await.expect("complete");
        }
        let running = lab.start(with("echo kept > /data/file; echo up; sleep 1000")).await;
        lab.hears(&id(&running), "up").await;
    };
    run_twice(first, async move |lab, ()| {
        let again = lab.start(with("cat /data/file")).await;
        again.wait().await.expect("complete");
        assert_eq!(lab.output(&id(&again)).await, "kept\n", "it is the same file system");
    });
}

#[test]
fn volumes_and_binds_are_made_and_go_as_asked() {
    run(async |lab| {
        let made = lab.path("made/by/the/runtime");
        let bind = Mount {
            source: made.to_str().expect("text").to_owned(),
            target: "/made".to_owned(),
            bind_options: Some(mount::BindOptions { createmountpoint: true, ..Default::default() }),
            ..Default::default()
        };
        let bare = mount::VolumeOptions { nocopy: true, ..Default::default() };
        let spec = ContainerSpec {
            open_stdin: true,
            mounts: vec![
                bind,
                volume("of-{{.Task.Slot}}-{{.Node.Hostname}}", "/named", Default::default()),
                volume("", "/data", Default::default()),
                volume("bare", "/data/none", bare),
            ],
            ..plain()
        };
        let script = "touch /made/file /named/file; cat /data/seed; ls /data/none | wc -l; readlink /proc/self/fd/0";
        let order = lab.order(ContainerSpec { args: shell(script), ..spec });
        let controller = lab.start_order(order).await;
        controller.wait().await.expect("complete");
        let output = lab.output(&id(&controller)).await;
        assert!(output.starts_with("from the image\n0\npipe:["), "{output}");
        let volumes = || {
            let mut names: Vec<String> = std::fs::read_dir(lab.path("data/volumes"))
                .expect("listed")
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(volumes().len(), 3, "one of them has no name: {:?}", volumes());
        controller.remove().await.expect("removed");
        assert_eq!(volumes(), ["bare", "of-1-labhost"], "it went with its container");
        assert!(made.join("file").exists());
        let (output, _) = lab.script("readlink /proc/self/fd/0", plain()).await;
        assert_eq!(output, "/dev/null\n", "input that nobody asked for is closed");
    });
}

#[test]
fn mounts_travel_as_they_are_told_to() {
    run(async |lab| {
        use mount::bind_options::Propagation;
        let place = lab.path("shared");
        std::fs::create_dir_all(place.join("later")).expect("made");
        let here = place.to_str().expect("text").to_owned();
        let mount_as = |flags: nix::mount::MsFlags| {
            nix::mount::mount(Some(here.as_str()), here.as_str(), None::<&str>, flags, None::<&str>).expect("mounted");
        };
        mount_as(nix::mount::MsFlags::MS_BIND);
        mount_as(nix::mount::MsFlags::MS_SHARED);
        let bound = |propagation: Propagation| ContainerSpec {
            args: shell("echo up; while [ ! -e /tmp/go ]; do sleep 0.05; done; cat /host/later/file 2>&1"),
            mounts: vec![Mount {
                source: here.clone(),
                target: "/host".to_owned(),
                bind_options: Some(mount::BindOptions { propagation: propagation.into(), ..Default::default() }),
                ..Default::default()
            }],
            ..plain()
        };
        let mut started = Vec::new();
        for (propagation, sees) in [(Propagation::Rprivate, false), (Propagation::Rslave, true)] {
            let controller = lab.start(bound(propagation)).await;
            lab.hears(&id(&controller), "up").await;
            started.push((controller, propagation, sees));
        }
        let later = place.join("later");
        nix::mount::mount(Some("tmpfs"), &later, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>)
            .expect("mounted");
        std::fs::write(later.join("file"), "arrived\n").expect("written");
        let script = "mount -t tmpfs inner /host/later && echo mounted; while [ ! -e /tmp/go ]; do sleep 0.05; done";
        let shared = bound(Propagation::Rshared);
        let shared = ContainerSpec { args: shell(script), capability_add: vec!["SYS_ADMIN".to_owned()], ..shared };
        let shared = lab.start(shared).await;
        lab.hears(&id(&shared), "mounted").await;
        let seen = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        assert!(seen.contains("inner /tmp"), "what the container mounts appears on the host:\n{seen}");
        lab.exec(&id(&shared), "touch /tmp/go").await;
        nix::mount::umount(&later).expect("unmounted");
        for (controller, propagation, sees) in started {
            lab.exec(&id(&controller), "touch /tmp/go").await;
            let end = tokio::time::timeout(PATIENCE, controller.wait()).await.expect("it ends");
            let output = lab.output(&id(&controller)).await;
            assert_eq!(output.contains("arrived"), sees, "{propagation:?}: {output} {end:?}");
            let shown = lab.runtime().container(&id(&controller)).expect("known");
            assert_eq!(shown.mounts[0].propagation, format!("{propagation:?}").to_lowercase());
        }
    });
}

#[test]
fn probes_are_shown_and_do_not_count_while_a_container_starts() {
    run(async |lab| {
        let millis = |count: i32| Some(prost_types::Duration { seconds: 0, nanos: count * 1_000_000 });
        let spec = ContainerSpec {
            args: shell("sleep 0.5; touch /tmp/ok; sleep 1000"),
            stop_signal: "SIGQUIT".to_owned(),
            stop_grace_period: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            healthcheck: Some(HealthConfig {
                test: vec!["CMD-SHELL".to_owned(), "echo looking; test -e /tmp/ok".to_owned()],
                interval: Some(prost_types::Duration { seconds: 1000, nanos: 0 }),
                start_period: Some(prost_types::Duration { seconds: 1000, nanos: 0 }),
                start_interval: millis(50),
                retries: 1,
                ..Default::default()
            }),
            ..plain()
        };
        let controller = lab.start(spec).await;
        let shown = lab.runtime().container(&id(&controller)).expect("known");
        assert_eq!((shown.health, shown.failing_streak), (Some(Health::Healthy), 0));
        let last = shown.probes.last().expect("a probe");
        assert_eq!((last.exit_code, last.output.as_str()), (0, "looking\n"));
        assert!(shown.probes.len() > 1, "earlier ones failed, and did not count");
        assert_eq!(
            (shown.settings.stop_signal.as_str(), shown.settings.stop_grace),
            ("SIGQUIT", Duration::from_secs(3))
        );
        let check = shown.settings.healthcheck.expect("a check");
        assert_eq!(check.test, ["CMD", "/bin/sh", "-c", "echo looking; test -e /tmp/ok"]);
        controller.terminate().await.expect("killed");
    });
}

#[test]
fn a_full_disk_is_cleared_of_what_nothing_uses() {
    run(async |lab| {
        let always = UpkeepPolicy { above_percent: 0, until_percent: 0, age_min_ms: 0 };
        let images = lab.runtime().images().clone();
        let dead = lab.start(ContainerSpec { args: shell("echo last words; echo x > /file"), ..plain() }).await;
        dead.wait().await.expect("complete");
        lab.cleaned(&id(&dead)).await;
        let unused = lab.import("name:1", "older").await;
        lab.import("name:1", "newer").await;
        lab.import("wanted:1", "wanted").await;
        let wanted = lab.order_with(plain(), |task| {
            task.spec = task.spec.take().map(|spec| {
                spec.edit(|spec| {
                    if let Some(skep_model::pb::types::task_spec::Runtime::Container(container)) = &mut spec.runtime {
                        container.image = "wanted:1".to_owned();
                    }
                })
            });
        });
        let wanted = lab.runtime().controller(wanted);
        let (disk, chosen) = lab.runtime().look_at_disk(always).await.expect("looked");
        assert!(disk.percent() > 0);
        assert_eq!((chosen.images, chosen.containers), (vec![unused.clone()], vec![id(&dead)]));
        assert!(images.get(&unused).is_err(), "it had lost its name");
        assert!(images.get("name:1").is_ok() && images.get("wanted:1").is_ok() && images.get(IMAGE).is_ok());
        assert!(images.rootfs_containers().is_empty());
        assert_eq!(lab.output(&id(&dead)).await, "last words\n", "its log stays");
        let never = UpkeepPolicy { above_percent: 100, ..always };
        assert!(lab.runtime().look_at_disk(never).await.expect("looked").1.images.is_empty());
        // Without their names both images below could go, but a task was assigned to one and a container stands on one.
        lab.import("wanted:1", "newer").await;
        lab.import(IMAGE, "newer").await;
        let (_, chosen) = lab.runtime().look_at_disk(always).await.expect("looked");
        assert_eq!(chosen.images.len(), 1, "what the task names now is another one");
        dead.remove().await.expect("removed");
        let (_, chosen) = lab.runtime().look_at_disk(always).await.expect("looked");
        assert_eq!(chosen.images.len(), 1, "no container stands on it any more");
        wanted.prepare().await.expect("prepared");
        wanted.remove().await.expect("removed");
    });
}

#[test]
fn cgroup_v2_alone_confines_and_cleans_up() {
    run_unified(async |lab| {
        let script = "mknod /tmp/disk b 8 0; (cat /tmp/disk) 2>&1; mknod /tmp/mem c 1 1; (cat /tmp/mem) 2>&1; \
                      head -c 4 /dev/zero | wc -c; cat /proc/self/cgroup; grep cgroup /proc/mounts; echo up; sleep 1000";
        let controller = lab.start(ContainerSpec { args: shell(script), ..plain() }).await;
        lab.hears(&id(&controller), "up").await;
        let output = lab.output(&id(&controller)).await;
        for expected in [
            "can't open '/tmp/disk': Operation not permitted",
            "can't open '/tmp/mem': Operation not permitted",
            "\n4\n",
            "0::/\n",
            "cgroup /sys/fs/cgroup cgroup2 ro",
        ] {
            assert!(output.contains(expected), "{expected:?} in\n{output}");
        }
        let cgroup = lab.cgroups(std::path::Path::new("/sys/fs/cgroup")).join(id(&controller));
        assert!(cgroup.join("cgroup.procs").exists(), "{}", cgroup.display());
        lab.exec(&id(&controller), "(cat /tmp/disk) 2> /dev/null").await;
        assert!(lab.runtime().stats(&id(&controller)).await.expect("a reading").online_cpus > 0);
        let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").expect("controllers");
        if !controllers.contains("memory") {
            let limits = Resources { memory_bytes: 64 << 20, ..Default::default() };
            let limited = ResourceRequirements { limits: Some(limits), ..Default::default() };
            let order = with_resources(lab, plain(), limited);
            let error = lab.runtime().controller(order).prepare().await.expect_err("no memory controller");
            let said = "Resources.Limits.MemoryBytes: this host does not support memory limits";
            assert_eq!(error.to_string(), said);
        }
        controller.remove().await.expect("removed");
        assert!(!cgroup.exists(), "{}", cgroup.display());
    });
}

#[test]
fn a_silent_shim_holds_nobody_up() {
    run(async |lab| {
        let controller = lab.start(ContainerSpec { args: shell("sleep 1000"), ..plain() }).await;
        let container = id(&controller);
        let shim = lab.shim(&container);
        nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGSTOP).expect("stopped");
        let removed = tokio::time::timeout(2 * PATIENCE, controller.remove()).await.expect("it ends");
        removed.expect("removed");
        assert!(lab.runtime().containers().is_empty());
        let error = controller.wait().await.expect_err("nothing is left");
        assert!(matches!(error, ControllerError::NotPrepared { .. }), "{error}");
    });
}
