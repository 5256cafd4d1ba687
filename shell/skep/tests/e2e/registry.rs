//! A private registry: logins are checked, passed on to every node, and images pinned to what the registry names.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::support::{Said, Swarm, busybox_archive, wait_for, wait_until};

const USER: &str = "operator";
const PASSWORD: &str = "secret";
/// `htpasswd -B` of the two.
const PASSWORD_FILE: &str = "operator:$2b$12$Gdj8bU72E3aD7pwT2juIeelP/u8MVm.tXqMdQkKZtlEjQquaBFzPi\n";
const PORT: u16 = 5000;

/// Ends with the test.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    /// On a host of its own; only who has the password may do anything.
    fn start(swarm: &Swarm, number: usize) -> Self {
        let directory = swarm.host(number).directory().to_owned();
        let address = format!("{}:{PORT}", swarm.address(number));
        fs::write(directory.join("htpasswd"), PASSWORD_FILE).expect("a file");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\n\
             http: {{addr: \"{address}\"}}\nauth: {{htpasswd: {{realm: skep, path: {passwords}}}}}\n",
            root = directory.join("registry").display(),
            passwords = directory.join("htpasswd").display(),
        );
        fs::write(directory.join("registry.yml"), config).expect("a file");
        let child = swarm
            .host(number)
            .command("docker-registry")
            .arg("serve")
            .arg(directory.join("registry.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let registry = Self { child, address };
        wait_for("the registry", || {
            let url = format!("http://{}/v2/", registry.address);
            let status = swarm.host(number).command("curl").args(["--silent", "--output", "/dev/null", &url]).status();
            status.is_ok_and(|status| status.success())
        });
        registry
    }

    /// Makes an image of an archive and pushes it.
    fn push(&self, swarm: &Swarm, number: usize, archive: &Path, name: &str) {
        let done = swarm
            .host(number)
            .command("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
            .args(["--dest-creds", &format!("{USER}:{PASSWORD}")])
            .arg(format!("tarball:{}", archive.display()))
            .arg(format!("docker://{}/{name}", self.address))
            .output()
            .map(Said::from)
            .expect("skopeo is installed");
        done.expect();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn logins_reach_every_node_and_images_are_pinned() {
    let Some(mut swarm) = Swarm::start(0) else { return };
    let store = swarm.add_bare_host();
    let registry = Registry::start(&swarm, store);
    let archive = busybox_archive(swarm.lab.directory());
    registry.push(&swarm, store, &archive, "team/tools:1");
    for _ in 0..2 {
        let number = swarm.add_bare_host();
        swarm.start_daemon_with(number, &["--insecure-registry", &registry.address]);
    }
    let (manager, worker) = (2, 3);
    swarm.docker(manager, &["swarm", "init", "--advertise-addr", &swarm.address(manager)]).expect();
    let token = swarm.docker(manager, &["swarm", "join-token", "-q", "worker"]).expect();
    swarm.docker(worker, &["swarm", "join", "--token", &token, &swarm.address(manager)]).expect();

    let logins = swarm.lab.directory().join("logins");
    let config = logins.display().to_string();
    let image = format!("{}/team/tools:1", registry.address);
    let create = |extra: &[&str], name: &str| {
        let mut words = vec!["--config", &config, "service", "create", "--detach", "--name", name, "--mode", "global"];
        words.extend(extra);
        words.extend([image.as_str(), "sleep", "1000"]);
        swarm.docker(manager, &words)
    };

    // Without a login every task says what the registry answered.
    create(&[], "barred").expect();
    wait_until("the registry's refusal in `service ps`", || {
        let seen = swarm.docker(manager, &["service", "ps", "--no-trunc", "--format", "{{.Error}}", "barred"]).out;
        if seen.contains("unauthorized") { Ok(()) } else { Err(seen) }
    });
    swarm.docker(manager, &["service", "rm", "barred"]).expect();

    // A wrong password is told at once and not kept.
    let login = |password: &str| {
        let words = ["--config", &config, "login", "--username", USER, "--password", password, &registry.address];
        swarm.docker(manager, &words)
    };
    let refusal = login("wrong").expect_failure();
    assert!(refusal.contains("unauthorized"), "{refusal}");
    assert!(login(PASSWORD).expect().contains("Login Succeeded"));

    create(&["--with-registry-auth"], "tools").expect();
    swarm.wait_running(manager, "tools", 2);
    let pinned = |name: &str| {
        let format = "{{.Spec.TaskTemplate.ContainerSpec.Image}}";
        swarm.docker(manager, &["service", "inspect", "--format", format, name]).expect()
    };
    let first = pinned("tools");
    assert!(first.starts_with(&format!("{image}@sha256:")), "{first}");

    // Other content behind the same tag: what is pinned stays until an update asks again.
    let other = swarm.lab.directory().join("other.tar");
    fs::copy(&archive, &other).expect("a copy");
    fs::write(swarm.lab.directory().join("added"), "new\n").expect("a file");
    let mut tar = std::process::Command::new("tar");
    let added = tar.arg("-C").arg(swarm.lab.directory()).arg("-rf").arg(&other).arg("added").status();
    assert!(added.expect("tar runs").success());
    registry.push(&swarm, store, &other, "team/tools:1");
    let update = |extra: &[&str]| {
        let mut words = vec!["--config", &config, "service", "update", "--detach", "--with-registry-auth"];
        words.extend(extra);
        words.push("tools");
        swarm.docker(manager, &words).expect();
    };
    update(&["--label-add", "a=b"]);
    assert_eq!(pinned("tools"), first);
    update(&["--image", &image]);
    assert_ne!(pinned("tools"), first);
    wait_until("the new image on both hosts", || {
        let format = "{{.Image}} {{.CurrentState}}";
        let words = ["service", "ps", "--no-trunc", "--filter", "desired-state=running", "--format", format, "tools"];
        let seen = swarm.docker(manager, &words).out;
        let new = pinned("tools");
        let there = seen.lines().filter(|line| line.starts_with(&new) && line.contains(" Running ")).count();
        if there == 2 { Ok(()) } else { Err(seen) }
    });
    the_own_client_logs_in(&swarm, manager, &registry.address);
}

/// `skep login` keeps what docker reads, and the other way round.
fn the_own_client_logs_in(swarm: &Swarm, number: usize, registry: &str) {
    let directory = swarm.lab.directory().join("own-logins");
    let skep = |words: &[&str]| -> Said {
        std::process::Command::new(env!("CARGO_BIN_EXE_skep"))
            .args(["-H", &format!("unix://{}", swarm.socket(number).display())])
            .args(words)
            .env("DOCKER_CONFIG", &directory)
            .stdin(Stdio::null())
            .output()
            .map(Said::from)
            .expect("skep runs")
    };
    let login = |password: &str| skep(&["login", "-u", USER, "-p", password, registry]);
    assert!(login("wrong").expect_failure().contains("unauthorized"));
    assert!(!directory.join("config.json").exists());
    assert_eq!(login(PASSWORD).expect(), "Login Succeeded");
    let image = format!("{registry}/team/tools:1");
    let words = ["service", "create", "-d", "--with-registry-auth", "--name", "own", &image, "sleep", "1000"];
    skep(&words).expect();
    swarm.wait_running(number, "own", 1);
    let config = directory.display().to_string();
    let said = swarm.docker(number, &["--config", &config, "logout", registry]).expect();
    assert!(said.contains(registry), "{said}");
    assert_eq!(skep(&["logout", registry]).expect(), format!("Not logged in to {registry}"));
}
