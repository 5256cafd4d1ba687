//! Specs become the documents that Docker would make of them, or are refused by name.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skep_model::engine::ImageConfig;
use skep_model::pb::types::{ContainerSpec, Mount, Privileges, ResourceRequirements, Resources, TaskSpec};
use skep_model::pb::types::{container_spec, mount, task_spec};

use super::*;
fn built(spec: &ContainerSpec, resources: Option<&ResourceRequirements>) -> Value {
    let mounts = plan(spec, &[], Path::new("/volumes")).expect("mounts");
    let env = environment(spec, &ImageConfig::default(), "box");
    document(&Facts {
        spec,
        resources,
        args: vec!["sh".to_owned()],
        env,
        working_dir: String::new(),
        hostname: "box",
        user: &User { uid: 0, gid: 0, additional_gids: Vec::new(), home: "/root".to_owned() },
        rootfs: PathBuf::from("/rootfs"),
        mounts: &mounts,
        files: &[BoundFile { source: "/c/hosts".into(), target: "/etc/hosts".to_owned(), read_only: false }],
        network_namespace: Some("/run/netns/c1".into()),
        cgroup_path: "/skep/c1".to_owned(),
        swap_limit: true,
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
        let expected = format!("nosuid,nodev,{expected},rprivate,size=4096,mode=1777");
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
    assert!(check(&with(container.clone())).is_ok());
    assert!(check(&TaskSpec::default()).is_err());
    let isolated = ContainerSpec { isolation: container_spec::Isolation::Hyperv.into(), ..container.clone() };
    assert!(check(&with(isolated)).expect_err("refused").message.contains("Hyper-V"));
    let mut logged = with(container);
    logged.log_driver = Some(skep_model::pb::types::Driver { name: "syslog".to_owned(), ..Default::default() });
    assert!(check(&logged).expect_err("refused").message.contains("syslog"));
}
