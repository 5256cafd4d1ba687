//! Who issues certificates: a root of one's own, and a CA outside the swarm (Debian's cfssl).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Said, Swarm, wait_until};

/// A directory with roots made by OpenSSL.
pub struct Roots(PathBuf);

impl Roots {
    pub fn new(swarm: &Swarm) -> Self {
        let directory = swarm.lab.directory().join("roots");
        fs::create_dir_all(&directory).expect("a directory");
        Self(directory)
    }

    pub fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).expect("a file")
    }

    pub fn openssl(&self, words: &[&str]) {
        let done = Command::new("openssl").current_dir(&self.0).args(words).output();
        Said::from(done.expect("openssl is installed")).expect();
    }

    /// A root `NAME.pem` with key `NAME-key.pem`; `key` are OpenSSL's words for making it.
    pub fn make(&self, name: &str, key: &str, subject: &str, days: &str) {
        let (certificate, key_file) = (format!("{name}.pem"), format!("{name}-key.pem"));
        let (command, options) = key.split_once(' ').expect("options");
        let words: Vec<&str> = [command, "-out", &key_file].into_iter().chain(options.split(' ')).collect();
        self.openssl(&words);
        self.openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            &key_file,
            "-days",
            days,
            "-subj",
            subject,
            "-out",
            &certificate,
        ]);
    }

    /// A certificate `NAME.pem` for a server, of a root.
    fn server(&self, name: &str, root: &str, address: &str) {
        fs::write(self.path("extensions"), format!("extendedKeyUsage=serverAuth\nsubjectAltName=IP:{address}\n"))
            .expect("a file");
        let (key, csr) = (format!("{name}-key.pem"), format!("{name}.csr"));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        self.openssl(&[&["req", "-new", "-subj", "/CN=server", "-keyout", &key, "-out", &csr], &curve[..]].concat());
        let (root_pem, root_key, out) = (format!("{root}.pem"), format!("{root}-key.pem"), format!("{name}.pem"));
        let mut words = vec!["x509", "-req", "-in", &csr, "-CA", &root_pem, "-CAkey", &root_key, "-CAcreateserial"];
        words.extend(["-days", "100", "-extfile", "extensions", "-out", &out]);
        self.openssl(&words);
    }
}

pub const EC_KEY: &str = "ecparam -genkey -name prime256v1";
/// Debian's cfssl stumbles over the parameters that `ecparam` writes before a key.
pub const PKCS8_KEY: &str = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1";
const RSA_KEY: &str = "genrsa -traditional 2048";

fn root(swarm: &Swarm, asked: usize) -> String {
    swarm.docker(asked, &["swarm", "ca"]).expect()
}

fn token(swarm: &Swarm, role: &str) -> String {
    swarm.docker(1, &["swarm", "join-token", "-q", role]).expect()
}

fn wait_trusted(swarm: &Swarm, asked: usize, node: &str, root: &str) {
    wait_until(&format!("{node} to trust the root"), || {
        let words = ["node", "inspect", node, "--format", "{{.Description.TLSInfo.TrustRoot}}"];
        let trusted = swarm.docker(asked, &words).out;
        if trusted.trim() == root.trim() { Ok(()) } else { Err(trusted) }
    });
}

fn wait_ready(swarm: &Swarm, asked: usize, count: usize) {
    wait_until(&format!("{count} ready nodes"), || {
        let list = swarm.docker(asked, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out;
        if list.lines().filter(|line| line.ends_with(" Ready")).count() == count { Ok(()) } else { Err(list) }
    });
}

fn rotation_is_over(swarm: &Swarm, asked: usize) {
    wait_until("the change of root to end", || {
        let shown = swarm.docker(asked, &["info", "--format", "{{.Swarm.Cluster.RootRotationInProgress}}"]).out;
        if shown.trim() == "false" { Ok(()) } else { Err(shown) }
    });
}

fn rotate<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["swarm", "ca", "--rotate"], words].concat()
}

#[test]
fn a_root_of_ones_own_is_taken_by_every_node_and_outlives_a_restart() {
    let Some(mut swarm) = Swarm::formed(2, 1) else { return };
    let roots = Roots::new(&swarm);
    // Twice the same part in a name, and a key as `openssl ecparam` writes it.
    roots.make("own", EC_KEY, "/O=Example/OU=One/OU=Two/CN=own root", "800");
    roots.make("other", RSA_KEY, "/C=CH/O=Example/CN=another root", "800");
    roots.make("short", EC_KEY, "/CN=short-lived", "30");
    let (own, own_key, other_key) = (roots.path("own.pem"), roots.path("own-key.pem"), roots.path("other-key.pem"));
    let (made, made_token) = (root(&swarm, 1), token(&swarm, "worker"));

    for client in [Swarm::docker, Swarm::skep] {
        let refuse = |words: &[&str], text: &str| {
            let refusal = client(&swarm, 2, &rotate(words)).expect_failure();
            assert!(refusal.contains(text), "{words:?}: {refusal}");
        };
        refuse(&["--ca-cert", &own, "--ca-key", &other_key], "certificate key mismatch");
        refuse(
            &["--ca-cert", &roots.path("short.pem"), "--ca-key", &roots.path("short-key.pem")],
            "CA certificate expires too soon",
        );
        refuse(&["--ca-cert", &own], "requires that a --ca-key flag and/or --external-ca flag be provided as well");
    }
    assert_eq!((root(&swarm, 1), token(&swarm, "worker")), (made, made_token.clone()), "nothing has changed");
    rotation_is_over(&swarm, 1);

    // The CLI waits until the change is over.
    swarm.docker(2, &rotate(&["--ca-cert", &own, "--ca-key", &own_key, "--quiet"])).expect();
    let wanted = roots.read("own.pem");
    assert_eq!(root(&swarm, 1).trim(), wanted.trim());
    for node in ["h1", "h2", "h3"] {
        wait_trusted(&swarm, 2, node, &wanted);
    }
    for number in [3, 1, 2] {
        swarm.kill_daemon(number);
        swarm.start_daemon(number);
    }
    wait_ready(&swarm, 1, 3);
    swarm.docker(3, &["swarm", "leave"]).expect();
    let address = format!("{}:2377", swarm.address(1));
    let refusal = swarm.docker(3, &["swarm", "join", "--token", &made_token, &address]).expect_failure();
    assert!(refusal.contains("remote CA does not match fingerprint"), "{refusal}");
    swarm.docker(3, &["swarm", "join", "--token", &token(&swarm, "worker"), &address]).expect();
    wait_ready(&swarm, 1, 3);
    forget_gone(&swarm);

    // Once more, to a root with an RSA key: but a node is away, so that the change waits, and is called off.
    swarm.kill_daemon(3);
    let other = roots.path("other.pem");
    swarm.skep(1, &rotate(&["--ca-cert", &other, "--ca-key", &other_key, "--detach"])).expect();
    let progress = ["info", "--format", "{{.Swarm.Cluster.RootRotationInProgress}}"];
    assert_eq!(swarm.docker(1, &progress).expect(), "true");
    swarm.docker(1, &rotate(&["--ca-cert", &own, "--ca-key", &own_key, "--quiet"])).expect();
    assert_eq!(root(&swarm, 1).trim(), wanted.trim());
    swarm.start_daemon(3);
    wait_ready(&swarm, 1, 3);
    swarm.skep(1, &rotate(&["--ca-cert", &other, "--ca-key", &other_key, "--quiet"])).expect();
    let wanted = roots.read("other.pem");
    for node in ["h1", "h2", "h3"] {
        wait_trusted(&swarm, 2, node, &wanted);
    }
    // And back to one of the swarm's own making.
    swarm.docker(1, &["swarm", "ca", "--rotate", "--quiet"]).expect();
    assert_ne!(root(&swarm, 2).trim(), wanted.trim());
    wait_ready(&swarm, 1, 3);
    nothing_tells_a_key(&swarm, &roots, &["own-key.pem", "other-key.pem"]);
}

/// Takes rows of nodes that left off the list: a change of root does not wait for them, but clients count them.
fn forget_gone(swarm: &Swarm) {
    let rows = swarm.docker(1, &["node", "ls", "--format", "{{.ID}} {{.Status}}"]).expect();
    for gone in rows.lines().filter_map(|row| row.strip_suffix(" Down")) {
        swarm.docker(1, &["node", "rm", gone]).expect();
    }
}

fn nothing_tells_a_key(swarm: &Swarm, roots: &Roots, keys: &[&str]) {
    for key in keys {
        let text = roots.read(key);
        let line = text.lines().find(|line| line.len() == 64).expect("a line of the key");
        for number in 1..=swarm.lab.hosts().len() {
            let log = fs::read_to_string(swarm.host(number).directory().join("daemon.log")).expect("a log");
            assert!(!log.contains(line), "the log of host {number} tells the key");
        }
        let shown = swarm.docker(1, &["info", "--format", "{{json .Swarm}}"]).expect();
        assert!(!shown.contains(line) && !shown.contains("PRIVATE KEY"), "{shown}");
    }
}

/// A running `cfssl serve`.
struct Cfssl(Child);

impl Drop for Cfssl {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

const CFSSL_CONFIG: &str = r#"{"signing": {
    "default": {"usages": ["signing", "key encipherment", "server auth", "client auth"], "expiry": "2160h"},
    "profiles": {"CA": {
        "usages": ["cert sign", "crl sign"], "expiry": "100000h", "ca_constraint": {"is_ca": true}
    }}
}}"#;

/// Whether there is a cfssl to test with; said loudly when there is none.
fn cfssl_is_installed() -> bool {
    let installed = Path::new("/usr/bin/cfssl").exists();
    if !installed {
        assert!(std::env::var_os("CI").is_none(), "on CI nothing is skipped, but there is no cfssl");
        eprintln!("SKIPPED: there is no cfssl (package golang-cfssl)");
    }
    installed
}

impl Cfssl {
    /// Serves a root on a host, for clients with a certificate of a root in `clients.pem`.
    fn start(swarm: &Swarm, number: usize, roots: &Roots, name: &str) -> Self {
        fs::write(roots.path("cfssl.json"), CFSSL_CONFIG).expect("a file");
        let host = swarm.host(number);
        let log = File::options().create(true).append(true).open(roots.path("cfssl.log")).expect("a log file");
        let child = host
            .command("/usr/bin/cfssl")
            .args(["serve", "-address", host.address(), "-port", "8888", "-config", &roots.path("cfssl.json")])
            .args(["-ca", &roots.path(&format!("{name}.pem")), "-ca-key", &roots.path(&format!("{name}-key.pem"))])
            .args(["-tls-cert", &roots.path("server.pem"), "-tls-key", &roots.path("server-key.pem")])
            .args(["-mutual-tls-ca", &roots.path("clients.pem")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("cfssl is installed");
        let cfssl = Self(child);
        wait_until("cfssl to listen", || {
            let words = ["-c", &format!("exec 3<>/dev/tcp/{}/8888", host.address())];
            let said = host.command("bash").args(words).output().expect("bash");
            if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned()) }
        });
        cfssl
    }

    fn stop(self, swarm: &Swarm, number: usize) {
        swarm.host(number).signal(&self.0, "KILL").expect("kill");
    }
}

/// Who issued a node's certificate, as the node's own file says.
fn issuer(swarm: &Swarm, number: usize) -> String {
    let file = swarm.host(number).directory().join("data/swarm/certificates/swarm-node.crt");
    let said = Command::new("openssl").args(["x509", "-noout", "-issuer", "-in"]).arg(file).output();
    Said::from(said.expect("openssl is installed")).expect()
}

fn wait_issued_outside(swarm: &Swarm, number: usize) {
    wait_until(&format!("host {number} to have a certificate of the external CA"), || {
        let issuer = issuer(swarm, number);
        if issuer.contains("outside") { Ok(()) } else { Err(issuer) }
    });
}

#[test]
fn an_external_ca_issues_what_the_swarm_has_no_key_for() {
    if !cfssl_is_installed() {
        return;
    }
    let Some(mut swarm) = Swarm::start(3) else { return };
    let number = swarm.add_bare_host();
    let roots = Roots::new(&swarm);
    roots.make("outside", PKCS8_KEY, "/CN=outside", "800");
    roots.server("server", "outside", &swarm.address(number));
    let url = format!("https://{}:8888/api/v1/cfssl/sign", swarm.address(number));
    let external = format!("protocol=cfssl,url={url}");
    // One that is named at init is kept; nobody is asked there yet.
    let early = ["swarm", "init", "--advertise-addr", &swarm.address(1), "--external-ca", &external];
    swarm.docker(1, &early).expect();
    let kept = ["info", "--format", "{{range .Swarm.Cluster.Spec.CAConfig.ExternalCAs}}{{.URL}}{{end}}"];
    assert_eq!(swarm.docker(1, &kept).expect(), url);
    let certificate = roots.path("outside.pem");
    let rotate = ["swarm", "ca", "--rotate", "--ca-cert", &certificate, "--external-ca", &external, "--quiet"];
    let none = |which: &str| {
        format!("there must be at least one valid, reachable external CA corresponding to the {which} CA certificate")
    };
    for client in [Swarm::docker, Swarm::skep] {
        let refusal = client(&swarm, 1, &rotate).expect_failure();
        assert!(refusal.contains(&none("desired")) && refusal.contains("refused"), "{refusal}");
    }
    // During the change managers show a certificate of the old root, afterwards one of the new.
    fs::write(roots.path("clients.pem"), root(&swarm, 1) + "\n" + &roots.read("outside.pem")).expect("a file");
    let cfssl = Cfssl::start(&swarm, number, &roots, "outside");
    swarm.docker(1, &rotate).expect();
    assert_eq!(root(&swarm, 1).trim(), roots.read("outside.pem").trim());
    wait_issued_outside(&swarm, 1);
    let shown = swarm.docker(1, &["info"]).expect();
    assert!(shown.contains(&format!("cfssl: {url}")), "{shown}");

    // Newcomers and renewals: a worker, which becomes a manager.
    swarm.join(2, "worker");
    wait_issued_outside(&swarm, 2);
    swarm.docker(1, &["node", "promote", "h2"]).expect();
    wait_until("h2 to be a manager", || {
        let list = swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}}/{{.ManagerStatus}}"]).out;
        if list.contains("h2/Reachable") { Ok(()) } else { Err(list) }
    });
    wait_issued_outside(&swarm, 2);

    // The CA is away: who asks hears why, and what waits is done when it is back.
    cfssl.stop(&swarm, number);
    let join_token = token(&swarm, "worker");
    let address = format!("{}:2377", swarm.address(1));
    let refusal = swarm.docker(3, &["swarm", "join", "--token", &join_token, &address]).expect_failure();
    assert!(refusal.contains(&format!("the external CA issued no certificate: {url}")), "{refusal}");
    let refusal = swarm.docker(1, &["swarm", "update", "--task-history-limit", "3"]).expect_failure();
    assert!(refusal.contains(&none("current")), "{refusal}");
    swarm.docker(1, &["node", "demote", "h2"]).expect();
    let id = swarm.docker(2, &["info", "--format", "{{.Swarm.NodeID}}"]).expect();
    wait_until("h2 to wait for its certificate", || {
        let log = fs::read_to_string(swarm.host(1).directory().join("daemon.log")).expect("a log");
        let reason = format!("the certificate of {id} cannot be signed: the external CA issued no certificate: {url}");
        if log.contains(&reason) { Ok(()) } else { Err("nothing is said".to_owned()) }
    });
    let cfssl = Cfssl::start(&swarm, number, &roots, "outside");
    wait_until("h2 to be a worker", || {
        let list = swarm.docker(2, &["info", "--format", "{{.Swarm.ControlAvailable}} {{.Swarm.LocalNodeState}}"]).out;
        if list.trim() == "false active" { Ok(()) } else { Err(list) }
    });
    swarm.docker(3, &["swarm", "join", "--token", &join_token, &address]).expect();
    wait_issued_outside(&swarm, 3);
    for number in [1, 2, 3] {
        swarm.kill_daemon(number);
        swarm.start_daemon(number);
    }
    wait_until("three nodes", || {
        let list = swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out;
        let is_ready = |node: &&str| list.lines().any(|line| line == format!("{node} Ready"));
        if ["h1", "h2", "h3"].iter().all(is_ready) { Ok(()) } else { Err(list) }
    });

    // Rows of the join in vain are nobody's; the change of root waits for no one that is not there.
    let rows = swarm.docker(1, &["node", "ls", "--format", "{{.ID}} {{.Hostname}}"]).expect();
    for row in rows.lines().filter_map(|row| row.split_once(' ')).filter(|(_, name)| !name.starts_with('h')) {
        swarm.docker(1, &["node", "rm", "--force", row.0]).expect();
    }
    // Back to a root of the swarm's own: the external CA vouches for it, and is needed no more.
    swarm.docker(1, &["swarm", "ca", "--rotate", "--quiet"]).expect();
    assert_ne!(root(&swarm, 1).trim(), roots.read("outside.pem").trim());
    cfssl.stop(&swarm, number);
    swarm.docker(3, &["swarm", "leave"]).expect();
    swarm.join(3, "worker");
    assert!(issuer(&swarm, 3).contains("swarm-ca"));
}
