//! The daemon's own flags, as an operator of dockerd knows them: TLS sockets, its file of settings, what it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Said, Swarm, wait_for};

const PORT: u16 = 2376;

/// An authority with a certificate for a server and one for a client.
struct Certificates(PathBuf);

impl Certificates {
    fn make(directory: &Path, address: &str) -> Self {
        let directory = directory.join("tls");
        fs::create_dir_all(&directory).expect("a directory");
        let openssl = |words: &str| {
            let done = Command::new("openssl").current_dir(&directory).args(words.split(' ')).output();
            Said::from(done.expect("openssl is installed")).expect();
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca-key.pem -out ca.pem"));
        for (name, usage) in [("server", "serverAuth"), ("client", "clientAuth")] {
            let extensions = format!("extendedKeyUsage={usage}\nsubjectAltName=IP:{address}\n");
            fs::write(directory.join("extensions"), extensions).expect("a file");
            openssl(&format!("req -new {key} -subj /CN={name} -keyout {name}-key.pem -out {name}.csr"));
            openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out {name}.pem \
                 -extfile extensions"
            ));
        }
        Self(directory)
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }
}

#[test]
fn a_tcp_socket_a_file_of_settings_and_a_pid_file_work_as_dockerds() {
    let Some(mut swarm) = Swarm::start(0) else { return };
    let number = swarm.add_bare_host();
    let (directory, address) = (swarm.host(number).directory().to_owned(), swarm.address(number));
    let certificates = Certificates::make(&directory, &address);
    let (file, pid_file) = (directory.join("daemon.json"), directory.join("skep.pid"));
    fs::write(&file, r#"{"labels": ["zone=a"], "log-format": "json", "swarm-default-advertise-addr": "eth0"}"#)
        .expect("a file");
    // Two addresses: without the setting `swarm init` would ask which one to use.
    for words in ["link add second type bridge", "addr add 198.51.100.7/24 dev second", "link set second up"] {
        let status = swarm.host(number).command("ip").args(words.split(' ')).status();
        assert!(status.is_ok_and(|status| status.success()), "{words}");
    }
    let url = format!("tcp://{address}:{PORT}");
    swarm.start_daemon_with(
        number,
        &[
            "--config-file",
            &file.display().to_string(),
            "--pidfile",
            &pid_file.display().to_string(),
            "--host",
            &url,
            "--tlsverify",
            "--tlscacert",
            &certificates.path("ca.pem"),
            "--tlscert",
            &certificates.path("server.pem"),
            "--tlskey",
            &certificates.path("server-key.pem"),
        ],
    );
    let over_tcp = |program: &str, words: &[&str]| -> Said {
        let mut command = swarm.host(number).command(program);
        command.env_remove("DOCKER_HOST").args(["-H", &url]).args(words);
        Said::from(command.stdin(Stdio::null()).output().expect("the client runs"))
    };
    let (ca, cert, key) =
        (certificates.path("ca.pem"), certificates.path("client.pem"), certificates.path("client-key.pem"));
    let known = ["--tlsverify", "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    let stranger = ["--tlsverify", "--tlscacert", &ca];
    for program in ["docker", env!("CARGO_BIN_EXE_skep")] {
        let ask = |before: &[&str]| over_tcp(program, &[before, &["info", "--format", "{{.Labels}}"]].concat());
        assert_eq!(ask(&known).expect(), "[zone=a]", "{program}");
        assert!(!ask(&stranger).ok, "{program} without a certificate");
        assert!(!ask(&[]).ok, "{program} without TLS");
    }

    let pid = fs::read_to_string(&pid_file).expect("the pid file");
    let name = swarm.host(number).command("cat").arg(format!("/proc/{}/comm", pid.trim())).output();
    assert_eq!(Said::from(name.expect("cat runs")).expect(), "skep");
    swarm.docker(number, &["swarm", "init"]).expect();
    let advertised = swarm.docker(number, &["info", "--format", "{{.Swarm.NodeAddr}}"]).expect();
    assert_eq!(advertised, address);
    let log = fs::read_to_string(directory.join("daemon.log")).expect("a log");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(log.contains("API listens"), "{log}");

    assert_eq!(swarm.stop_daemon(number), Some(0));
    wait_for("the pid file to go", || !pid_file.exists());
    assert!(!swarm.socket(number).exists());
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let Some(swarm) = Swarm::start(1) else { return };
    let directory = swarm.host(1).directory().to_owned();
    let refused = |words: &[&str]| {
        let other = directory.join("other");
        let mut command = swarm.host(1).command(env!("CARGO_BIN_EXE_skep"));
        command.args(["daemon", "--exec-root", &other.join("exec").display().to_string()]).args(words);
        Said::from(command.stdin(Stdio::null()).output().expect("skep runs")).expect_failure()
    };
    let socket = format!("unix://{}", directory.join("other.sock").display());
    let elsewhere = directory.join("other").join("data").display().to_string();
    let used = directory.join("data").display().to_string();
    let file = directory.join("bad.json");
    fs::write(&file, r#"{"hosts": ["unix:///run/x.sock"]}"#).expect("a file");
    let file = file.display().to_string();
    for (words, named) in [
        (vec!["--host", "tcp://127.0.0.1:2375", "--data-root", &elsewhere], "--insecure-tcp"),
        (vec!["--host", &socket, "--data-root", &used], "in use by another daemon"),
        (vec!["--host", &socket, "--data-root", &elsewhere, "--config-file", &file], "hosts"),
        (vec!["--host", &socket, "--data-root", &elsewhere, "--config-file", "/nonexistent.json"], "/nonexistent.json"),
        (vec!["--host", &socket, "--data-root", &elsewhere, "--bip", "10.0.0.1/24"], "--bip"),
        (vec!["--host", &socket, "--data-root", &elsewhere, "--bib", "10.0.0.1/24"], "--bib"),
    ] {
        let refusal = refused(&words);
        assert!(refusal.contains(named), "{words:?}: {refusal}");
    }
    // The daemon that was there goes on.
    assert!(swarm.docker(1, &["version"]).ok);
}
