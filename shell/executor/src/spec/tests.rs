//! Specs become the documents that Docker would make of them, or are refused by name.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skep_model::engine::ImageConfig;
use skep_model::pb::types::{ContainerSpec, Mount, Privileges, ResourceRequirements, Resources, TaskSpec};
use skep_model::pb::types::{container_spec, mount, task_spec};
use skep_model::{Ability, AbilitySet};

use super::*;
fn built(spec: &ContainerSpec, resources: Option<&ResourceRequirements>) -> Value {
    let mounts = plan(spec, &[], Path::new("/volumes")).expect("mounts");
    let env = environment(spec, &ImageConfig::default(), "box");
    document(&Facts {
        spec,
        resources,
        args: vec!["sh".to_owned()],
        env,
        hostname: "box",
        user: &User { uid: 0, gid: 0, additional_gids: Vec::new(), home: "/root".to_owned() },
        rootfs: PathBuf::from("/rootfs"),
        mounts: &mounts,
        files: &[BoundFile { source: "/c/hosts".into(), target: "/etc/hosts".to_owned(), read_only: false }],
        network_namespace: Some("/run/netns/c1".into()),
        cgroup_path: "/skep/c1".to_owned(),
        host: Ability::ALL.into_iter().collect(),
        unified_cgroup: true,
        separate_cgroups: vec!["/sys/fs/cgroup/memory".into()],
        own_network_settings: true,
    })
    .expect("a document")
}

#[test]
fn defaults_are_dockers() {
    let document = built(&ContainerSpec::default(), None);
    let confined = confinement(&ContainerSpec::default()).expect("known");
    assert_eq!((confined.capabilities.len(), confined.filtered, confined.no_new_privileges), (14, true, false));
    assert!(document["process"].get("noNewPrivileges").is_none());
    assert_eq!(document["process"]["cwd"], "/");
    assert_eq!(document["linux"]["resources"]["devices"][0], json!({"allow": false, "type": "a", "access": "rwm"}));
    let masked = document["linux"]["maskedPaths"].as_array().expect("paths");
    assert!(masked.contains(&json!("/proc/kcore")) && masked.contains(&json!("/sys/firmware")));
    let fixed = |document: &Value| document["linux"]["readonlyPaths"].as_array().expect("paths").clone();
    assert!(fixed(&document).contains(&json!("/proc/sys")));
    assert!(fixed(&document).contains(&json!("/sys/fs/cgroup/memory")), "its own limits are not its to lift");
    let settings = json!({"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"});
    assert_eq!(document["linux"]["sysctl"], settings);
    let kinds: Vec<&str> = document["linux"]["namespaces"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|one| one["type"].as_str())
        .collect();
    assert_eq!(kinds, ["pid", "ipc", "uts", "mount", "cgroup", "network"]);
    let env = document["process"]["env"].as_array().expect("list");
    assert!(env.contains(&json!("HOSTNAME=box")) && env.contains(&json!("HOME=/root")));
}

#[test]
fn what_the_spec_says_of_settings_and_of_the_hosts_own_cgroups_goes_first() {
    let cgroup = Mount { source: "/sys".to_owned(), target: "/sys".to_owned(), ..Default::default() };
    let spec = ContainerSpec {
        mounts: vec![cgroup],
        sysctls: [("net.ipv4.ip_unprivileged_port_start".to_owned(), "80".to_owned())].into(),
        ..Default::default()
    };
    let document = built(&spec, None);
    let fixed = document["linux"]["readonlyPaths"].as_array().expect("paths");
    assert!(!fixed.contains(&json!("/sys/fs/cgroup/memory")), "{fixed:?}");
    assert_eq!(document["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"], "80");
}

#[test]
fn limits_and_privileges_are_carried() {
    let limits = Resources { nano_cpus: 500_000_000, memory_bytes: 64 << 20, ..Default::default() };
    let resources = ResourceRequirements { limits: Some(limits), ..Default::default() };
    let spec = ContainerSpec {
        pids_limit: 10,
        read_only: true,
        privileges: Some(Privileges { no_new_privileges: true, ..Default::default() }),
        ulimits: vec![container_spec::Ulimit { name: "nofile".to_owned(), soft: 10, hard: -1 }],
        oom_score_adj: 7,
        ..Default::default()
    };
    let document = built(&spec, Some(&resources));
    assert_eq!(document["linux"]["resources"]["cpu"], json!({"quota": 50_000, "period": 100_000}));
    assert_eq!(document["linux"]["resources"]["memory"], json!({"limit": 64 << 20, "swap": 128 << 20}));
    assert_eq!(document["linux"]["resources"]["pids"], json!({"limit": 10}));
    assert_eq!(document["root"]["readonly"], true);
    assert_eq!(document["process"]["noNewPrivileges"], true);
    assert_eq!(document["process"]["oomScoreAdj"], 7);
    assert_eq!(document["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX}]));
}

#[test]
fn the_later_environment_wins() {
    let image =
        ImageConfig { env: vec!["A=1".to_owned(), "B=1".to_owned(), "PATH=/x".to_owned()], ..Default::default() };
    let spec = ContainerSpec { env: vec!["A=2".to_owned(), "B".to_owned()], ..Default::default() };
    let env = environment(&spec, &image, "box");
    assert_eq!(env, ["PATH=/x", "HOSTNAME=box", "A=2"]);
}

#[test]
fn commands_follow_dockers_rule() {
    let text = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let image = ImageConfig { entrypoint: text(&["/entry"]), command: text(&["serve"]), ..Default::default() };
    let spec = |command: &[&str], args: &[&str]| ContainerSpec {
        command: text(command),
        args: text(args),
        ..Default::default()
    };
    let of = |command: &[&str], args: &[&str]| super::command(&spec(command, args), &image).expect("a command");
    assert_eq!(of(&[], &[]), (text(&["/entry"]), text(&["serve"])));
    assert_eq!(of(&[], &["x"]), (text(&["/entry"]), text(&["x"])));
    assert_eq!(of(&["own"], &[]), (text(&["own"]), text(&[])));
    assert!(super::command(&ContainerSpec::default(), &ImageConfig::default()).is_err());
}

#[test]
fn mounts_are_planned_outer_first() {
    let volume = |source: &str, target: &str| Mount {
        r#type: mount::Type::Volume.into(),
        source: source.to_owned(),
        target: target.to_owned(),
        ..Default::default()
    };
    let spec = ContainerSpec { mounts: vec![volume("data-3", "/a/b"), volume("", "/a")], ..Default::default() };
    let planned = plan(&spec, &["/a/b".to_owned(), "/image".to_owned()], Path::new("/v")).expect("planned");
    let targets: Vec<&str> = planned.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/a", "/image", "/a/b"]);
    assert_eq!(planned[2].source, Path::new("/v/data-3/_data"));
    assert!(planned[0].anonymous && planned[1].anonymous && !planned[2].anonymous);
    for bad in [volume("../x", "/a"), volume("ok", "relative"), volume("ok", "/"), volume("ok", "/a/../b")] {
        let spec = ContainerSpec { mounts: vec![bad], ..Default::default() };
        assert!(plan(&spec, &[], Path::new("/v")).is_err());
    }
}

#[test]
fn memory_file_systems_take_the_two_options_that_docker_knows() {
    let planned = |options: &str| {
        let given = mount::TmpfsOptions { size_bytes: 4096, options: options.to_owned(), ..Default::default() };
        let mount = Mount {
            r#type: mount::Type::Tmpfs.into(),
            target: "/work".to_owned(),
            tmpfs_options: Some(given),
            ..Default::default()
        };
        let spec = ContainerSpec { mounts: vec![mount], ..Default::default() };
        plan(&spec, &[], Path::new("/v")).map(|planned| planned[0].options.join(","))
    };
    for (options, expected) in [("", "noexec"), ("null", "noexec"), (r#"[["exec"]]"#, "exec")] {
        let expected = format!("nosuid,nodev,{expected},rprivate,size=4096");
        assert_eq!(planned(options).expect("planned"), expected);
    }
    assert!(planned(r#"[["uid","5"]]"#).expect_err("unknown").message.contains("\"uid=5\""));
    assert!(planned("{").is_err());
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let container = ContainerSpec { image: "web".to_owned(), ..Default::default() };
    let with = |container: ContainerSpec| TaskSpec {
        runtime: Some(task_spec::Runtime::Container(container)),
        ..Default::default()
    };
    let here: AbilitySet = [Ability::Seccomp, Ability::PidsLimit].into_iter().collect();
    let refused = |spec: &TaskSpec| check(spec, here, false).expect_err("refused").message;
    assert!(check(&with(container.clone()), here, false).is_ok());
    assert!(check(&TaskSpec::default(), here, false).is_err());
    let isolated = ContainerSpec { isolation: container_spec::Isolation::Hyperv.into(), ..container.clone() };
    assert!(refused(&with(isolated)).contains("Hyper-V"));
    let confined = Privileges { apparmor: Some(Default::default()), ..Default::default() };
    let confined = with(ContainerSpec { privileges: Some(confined), ..container.clone() });
    assert_eq!(refused(&confined), "ContainerSpec.Privileges.AppArmor: this host does not support AppArmor profiles");
    let everything = Ability::ALL.into_iter().collect();
    assert!(check(&confined, everything, false).is_ok());
    let mut logged = with(container.clone());
    logged.log_driver = Some(skep_model::pb::types::Driver { name: "syslog".to_owned(), ..Default::default() });
    assert!(refused(&logged).contains("syslog"));
    let ulimit = container_spec::Ulimit { name: "nofile".to_owned(), soft: -1, hard: 10 };
    assert!(refused(&with(ContainerSpec { ulimits: vec![ulimit], ..container.clone() })).contains("soft limit"));
    assert!(refused(&with(ContainerSpec { oom_score_adj: 1001, ..container.clone() })).contains("[-1000, 1000]"));
    let seccomp = skep_model::pb::types::privileges::SeccompOpts { mode: 2, profile: "{".into() };
    let custom = Privileges { seccomp: Some(seccomp), ..Default::default() };
    let custom = with(ContainerSpec { privileges: Some(custom), ..container.clone() });
    assert!(refused(&custom).contains("ContainerSpec.Privileges.Seccomp.Profile"));
    let swap = |swap_bytes, memory_swappiness| TaskSpec {
        resources: Some(ResourceRequirements { swap_bytes, memory_swappiness, ..Default::default() }),
        ..with(container.clone())
    };
    let asked = |swap_bytes, swappiness| check(&swap(swap_bytes, swappiness), everything, false).map(drop);
    assert!(asked(Some(1), None).expect_err("no limit").message.contains("set Limits.MemoryBytes"));
    assert!(asked(None, Some(101)).expect_err("too much").message.contains("range is 0-100"));
    assert!(asked(None, Some(60)).is_ok());
}

#[test]
fn swap_is_said_together_with_memory() {
    let limits = Resources { memory_bytes: 64, ..Default::default() };
    for (swap_bytes, expected) in
        [(None, json!(128)), (Some(0), json!(64)), (Some(8), json!(72)), (Some(-1), json!(-1))]
    {
        let resources = ResourceRequirements { limits: Some(limits.clone()), swap_bytes, ..Default::default() };
        let document = built(&ContainerSpec::default(), Some(&resources));
        assert_eq!(document["linux"]["resources"]["memory"]["swap"], expected);
        let none = json!({"memory.swap.max": "0"});
        assert_eq!(document["linux"]["resources"].get("unified"), (swap_bytes == Some(0)).then_some(&none));
    }
}

#[test]
fn binds_and_volumes_are_carried_whole() {
    let planned = |mount: Mount| {
        let spec = ContainerSpec { mounts: vec![mount], ..Default::default() };
        plan(&spec, &[], Path::new("/v")).map(|mut planned| planned.remove(0))
    };
    let bind = |readonly: bool, options: mount::BindOptions| Mount {
        source: "/srv".to_owned(),
        target: "/data".to_owned(),
        readonly,
        bind_options: Some(options),
        ..Default::default()
    };
    let plain = mount::BindOptions::default();
    assert_eq!(planned(bind(true, plain)).expect("planned").options, ["rbind", "rprivate", "rro"]);
    let shallow = mount::BindOptions { readonlynonrecursive: true, ..plain };
    assert_eq!(planned(bind(true, shallow)).expect("planned").options, ["rbind", "rprivate", "ro"]);
    let forced = mount::BindOptions { readonlyforcerecursive: true, ..plain };
    assert!(planned(bind(true, forced)).is_ok());
    assert!(planned(bind(false, forced)).expect_err("writable").message.contains("not read-only"));
    let slave = mount::BindOptions { propagation: mount::bind_options::Propagation::Rslave.into(), ..plain };
    let slave = planned(bind(false, slave)).expect("planned");
    assert_eq!((slave.propagation.as_str(), slave.root_propagation.as_deref()), ("rslave", Some("slave")));
    for (target, fine) in [("/proc/sys", false), ("/proc", false), ("/proc/uptime", true), ("/process", true)] {
        let mount = Mount { target: target.to_owned(), ..bind(false, plain) };
        assert_eq!(planned(mount).is_ok(), fine, "{target}");
    }
    let of_image = plan(&ContainerSpec::default(), &["/proc/self".to_owned()], Path::new("/v"));
    assert!(of_image.expect_err("an image's volume").message.contains("inside /proc"));
    let volume = |options: mount::VolumeOptions| Mount {
        r#type: mount::Type::Volume.into(),
        source: "data".to_owned(),
        target: "/data".to_owned(),
        volume_options: Some(options),
        ..Default::default()
    };
    let part = planned(volume(mount::VolumeOptions { subpath: "a/b".to_owned(), ..Default::default() }));
    let part = part.expect("planned");
    assert_eq!((part.subpath.as_str(), part.copy_up), ("a/b", false));
    for subpath in ["/a", "../a", "a/.."] {
        let options = mount::VolumeOptions { subpath: subpath.to_owned(), ..Default::default() };
        assert!(planned(volume(options)).expect_err(subpath).message.contains("subpath"));
    }
    let driver = |name: &str, options: &[(&str, &str)]| {
        let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let driver = skep_model::pb::types::Driver { name: name.to_owned(), options };
        planned(volume(mount::VolumeOptions { driver_config: Some(driver), ..Default::default() }))
    };
    assert_eq!(driver("local", &[("type", "tmpfs"), ("device", "tmpfs")]).expect("planned").driver_options.len(), 2);
    assert!(driver("local", &[("colour", "red")]).expect_err("unknown").message.contains("\"colour\""));
    assert!(driver("nfs", &[]).expect_err("another driver").message.contains("\"nfs\""));
}
