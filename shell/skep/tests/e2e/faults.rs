//! Bad input and faults: what is refused, what survives, and that nothing is corrupted.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Swarm, wait_for, wait_until};

/// A peer that says nothing for so long has hung.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// A body that no request may have.
const HUGE_BYTES: usize = 32 * 1024 * 1024;

#[test]
fn damaged_requests_are_refused_and_the_daemon_goes_on() {
    let Some(swarm) = Swarm::start(1) else { return };
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    swarm.init();
    for (request, status, text) in [
        (post("/services/create", "{bad"), "400", "message"),
        (post("/services/create", r#"{"Name":5}"#), "400", "Name"),
        (post("/services/create", ""), "400", "message"),
        (post("/swarm/join", "[[[[["), "400", "message"),
        (get("/v9.99/info"), "400", "client version 9.99 is too new. Maximum supported API version is 1."),
        (get("/v1.2/info"), "400", "client version 1.2 is too old. Minimum supported API version is 1.24"),
        (get("/vx/info"), "404", "page not found"),
        (get("/nothing"), "404", "page not found"),
        (post("/containers/create", "{}"), "501", "message"),
        (get("/info?\u{0}"), "400", ""),
        ("\u{1}\u{2}\u{3} nonsense\r\n\r\n".to_owned(), "400", ""),
        (post("/swarm/update?version=abc", "{}"), "400", "version"),
        (get("/tasks?filters=%7Bbad"), "400", "message"),
    ] {
        let answer = http(&swarm, request.as_bytes(), true);
        let first = answer.lines().next().unwrap_or_default();
        assert!(first.contains(status), "{request:?} was answered with {answer:?}");
        assert!(answer.contains(text), "{request:?} was answered with {answer:?}");
    }
    // Too large, whether it is announced or just goes on and on.
    let huge = format!("POST /services/create HTTP/1.1\r\nHost: d\r\nContent-Length: {HUGE_BYTES}\r\n\r\n");
    let answer = http(&swarm, huge.as_bytes(), false);
    assert!(answer.contains("413"), "{answer:?}");
    let answer = endless(&swarm);
    assert!(answer.is_empty() || answer.contains("413"), "{answer:?}");
    // Streams that are closed half way: the answer still comes, or the connection ends.
    let answer = http(&swarm, get("/version").as_bytes(), true);
    assert!(answer.is_empty() || answer.contains("200 OK"), "{answer:?}");
    let answer = http(&swarm, b"POST /services/create HTTP/1.1\r\nHost: d\r\nContent-Length: 100\r\n\r\n{", true);
    assert!(answer.is_empty() || answer.contains(" 400 "), "{answer:?}");
    let answer = http(&swarm, b"GET /info HT", true);
    assert!(answer.is_empty() || answer.contains(" 400 "), "{answer:?}");
    assert_eq!(swarm.docker(1, &["node", "ls", "-q"]).expect().lines().count(), 1);
}

/// Sends bytes, closes the sending half if asked to, and reads until the daemon closes.
fn http(swarm: &Swarm, request: &[u8], half_close: bool) -> String {
    let mut stream = UnixStream::connect(swarm.socket(1)).expect("the socket");
    stream.set_read_timeout(Some(SILENCE_MAX)).expect("a timeout");
    stream.write_all(request).expect("a request");
    if half_close {
        stream.shutdown(Shutdown::Write).expect("half closed");
    }
    answer_of(&mut stream)
}

fn answer_of(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the daemon hung ({error}) after {:?}", String::from_utf8_lossy(&answer)),
        }
        if answer.starts_with(b"HTTP/1.1 413") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A chunked body without an end.
fn endless(swarm: &Swarm) -> String {
    let mut stream = UnixStream::connect(swarm.socket(1)).expect("the socket");
    stream.set_read_timeout(Some(SILENCE_MAX)).expect("a timeout");
    stream
        .write_all(b"POST /services/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("a request");
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..HUGE_BYTES / 0x10000 {
        if stream.write_all(&chunk).is_err() {
            return answer_of(&mut stream);
        }
    }
    panic!("{HUGE_BYTES} bytes were taken");
}

#[test]
fn garbage_on_the_cluster_port_harms_nobody() {
    let Some(swarm) = Swarm::start(2) else { return };
    swarm.init();
    let address = format!("{}:2377", swarm.address(1));
    let zeros = vec![0; 1024 * 1024];
    let mut hello = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3];
    hello.extend([0xa5; 300]);
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        &[0xff; 70_000],
        &zeros,
        &hello,
        b"",
    ] {
        let mut stream = TcpStream::connect(&address).expect("the port");
        stream.set_read_timeout(Some(SILENCE_MAX)).expect("a timeout");
        // The daemon may close before it has read everything.
        let written = stream.write_all(garbage).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => assert!(answer.len() < 1024, "garbage was answered with {} bytes", answer.len()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the daemon keeps a useless connection ({error}, {written:?})"),
        }
    }
    let idle: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&address).expect("the port")).collect();
    swarm.join(2, "worker");
    drop(idle);
    wait_states(&swarm, 1, &["h1 Ready", "h2 Ready"]);
}

#[test]
fn certificates_and_tokens_open_only_what_they_should() {
    let Some(mut swarm) = Swarm::start(4) else { return };
    swarm.init();
    swarm.join(2, "worker");
    let other = swarm.address(3);
    swarm.docker(3, &["swarm", "init", "--advertise-addr", &other]).expect();

    // A manager may ask, a worker may not ask what a manager may; its own methods it may.
    let list = "docker.swarmkit.v1.Control/ListNodes";
    assert!(call(&swarm, Some(1), list).contains("grpc-status: 0"), "{}", call(&swarm, Some(1), list));
    for method in [
        list,
        "docker.swarmkit.v1.CA/GetUnlockKey",
        "docker.swarmkit.v1.RaftMembership/Join",
        "docker.swarmkit.v1.RaftMembership/Leave",
        "docker.swarmkit.v1.Raft/ProcessRaftMessage",
        "docker.swarmkit.v1.Raft/StreamRaftMessage",
        "skep.v1.Peer/RaftStream",
    ] {
        let answer = call(&swarm, Some(2), method);
        assert!(answer.contains("grpc-status: 7"), "{method}: {answer}");
    }
    assert!(!call(&swarm, Some(2), "docker.swarmkit.v1.Dispatcher/Heartbeat").contains("grpc-status: 7"));
    // The manager of another swarm is nobody here, and neither is who shows nothing.
    for identity in [Some(3), None] {
        let answer = call(&swarm, identity, list);
        assert!(!answer.contains("grpc-status: 0"), "{identity:?}: {answer}");
        assert!(answer.contains("grpc-status: 7") || answer.contains("curl: ("), "{identity:?}: {answer}");
    }

    // The token of a swarm that is gone, at the address of one that is there.
    let replayed = swarm.docker(3, &["swarm", "join-token", "-q", "manager"]).expect();
    swarm.docker(3, &["swarm", "leave", "--force"]).expect();
    swarm.docker(3, &["swarm", "init", "--advertise-addr", &other]).expect();
    let refusal = swarm.docker(4, &["swarm", "join", "--token", &replayed, &format!("{other}:2377")]).expect_failure();
    assert!(refusal.contains("remote CA does not match fingerprint"), "{refusal}");
    // A worker's token makes no manager, whatever is put around it.
    let worker = swarm.docker(1, &["swarm", "join-token", "-q", "worker"]).expect();
    swarm.docker(1, &["swarm", "join-token", "--rotate", "-q", "worker"]).expect();
    let address = format!("{}:2377", swarm.address(1));
    let refusal = swarm.docker(4, &["swarm", "join", "--token", &worker, &address]).expect_failure();
    assert!(refusal.contains("A valid join token is necessary"), "{refusal}");
    assert_eq!(state(&swarm, 4), "inactive");

    // A node that was removed does not come back with the certificate it still has.
    swarm.docker(1, &["node", "rm", "--force", "h2"]).expect();
    swarm.kill_daemon(2);
    swarm.start_daemon(2);
    let answer = call(&swarm, Some(2), "docker.swarmkit.v1.Dispatcher/Session");
    assert!(!answer.contains("grpc-status: 0"), "{answer}");
    assert_eq!(swarm.docker(1, &["node", "ls", "-q"]).expect().lines().count(), 1);
}

/// Calls a method of host 1's manager with the certificate of a host, or with none; headers, trailers and errors.
fn call(swarm: &Swarm, identity: Option<usize>, method: &str) -> String {
    let scratch = swarm.lab.directory();
    let empty = scratch.join("empty-message");
    fs::write(&empty, [0; 5]).expect("a message");
    let certificates = |number: usize| data(swarm, number).join("swarm/certificates");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "20", "--http2", "-D", "-", "-o"]).arg(scratch.join("answer"));
    curl.arg("--cacert").arg(certificates(1).join("swarm-root-ca.crt"));
    curl.arg("--resolve").arg(format!("swarm-manager:2377:{}", swarm.address(1)));
    if let Some(number) = identity {
        let pem = fs::read_to_string(certificates(number).join("swarm-node.key")).expect("a key");
        // Headers inside the PEM file are SwarmKit's own.
        let plain: Vec<&str> = pem.lines().filter(|line| !line.contains(": ") && !line.is_empty()).collect();
        let key = scratch.join("plain.key");
        fs::write(&key, plain.join("\n")).expect("a key");
        curl.arg("--cert").arg(certificates(number).join("swarm-node.crt")).arg("--key").arg(key);
    }
    curl.args(["-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary"]);
    curl.arg(format!("@{}", empty.display())).arg(format!("https://swarm-manager:2377/{method}"));
    let mut answer = String::new();
    wait_for("an answer that came before the request was cut off", || {
        let output = curl.output().expect("curl is installed");
        answer = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // A refusal may come while the request is still being sent, and curl makes an error of that.
        !answer.contains("curl: (92)") || answer.contains("grpc-status")
    });
    answer
}

#[test]
fn a_full_disk_refuses_writes_and_corrupts_nothing() {
    let Some(mut swarm) = Swarm::start(1) else { return };
    assert_eq!(swarm.stop_daemon(1), Some(0));
    let root = data(&swarm, 1);
    on_host(&swarm, &["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", &root.display().to_string()]);
    swarm.start_daemon(1);
    swarm.init();
    let payload = swarm.lab.directory().join("payload");
    fs::write(&payload, [b'x'; 400_000]).expect("a file");
    let payload = payload.display().to_string();
    let mut acknowledged = Vec::new();
    let refusal = loop {
        let name = format!("c{}", acknowledged.len());
        let said = swarm.docker(1, &["config", "create", &name, &payload]);
        if !said.ok {
            break said.err;
        }
        acknowledged.push(name);
        assert!(acknowledged.len() < 100, "a full disk was never noticed");
    };
    assert!(refusal.contains("cannot be written"), "{refusal}");
    let refusal = swarm.docker(1, &["config", "create", "more", &payload]).expect_failure();
    assert!(refusal.contains("disk full") || refusal.contains("cannot be written"), "{refusal}");
    // Reading goes on.
    let names = swarm.docker(1, &["config", "ls", "--format", "{{.Name}}"]).expect();
    assert!(acknowledged.iter().all(|name| names.lines().any(|line| line == name)), "{names}");
    // With room again it goes on by itself, and what was acknowledged outlives a crash.
    on_host(&swarm, &["mount", "-o", "remount,size=256m", &root.display().to_string()]);
    wait_until("writes to work again", || {
        let said = swarm.docker(1, &["config", "create", "again", "/etc/hostname"]);
        if said.ok || said.err.contains("already exists") { Ok(()) } else { Err(said.err) }
    });
    acknowledged.push("again".to_owned());
    swarm.kill_daemon(1);
    swarm.start_daemon(1);
    wait_for("the manager to lead again", || swarm.leader(1).as_deref() == Some("h1"));
    let names = swarm.docker(1, &["config", "ls", "--format", "{{.Name}}"]).expect();
    assert!(acknowledged.iter().all(|name| names.lines().any(|line| line == name)), "{names}");
}

#[test]
fn a_damaged_log_is_recovered_whole_or_refused_aloud() {
    let Some(mut swarm) = Swarm::start(1) else { return };
    swarm.init();
    for name in ["one", "two", "three"] {
        swarm.docker(1, &["config", "create", name, "/etc/hostname"]).expect();
    }
    swarm.kill_daemon(1);
    let log = data(&swarm, 1).join("swarm/raft/raft.db");
    let whole = fs::read(&log).expect("the log");
    let tail = fs::read(log.with_file_name("tail")).expect("the note beside it");
    let put = |bytes: &[u8]| {
        fs::write(&log, bytes).expect("the log");
        fs::write(log.with_file_name("tail"), &tail).expect("the note beside it");
    };
    let used = whole.iter().rposition(|byte| *byte != 0).expect("something");
    let mut refused = 0;
    let mut damages: Vec<(String, Vec<u8>)> = Vec::new();
    for keep in [0, 100, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        damages.push((format!("cut off after {keep} bytes"), whole[..keep].to_vec()));
    }
    for part in 0..12 {
        let mut damaged = whole.clone();
        let at = used * part / 12 + 7;
        damaged[at] ^= 0x10;
        damages.push((format!("a flipped bit at {at}"), damaged));
    }
    for (damage, bytes) in damages {
        put(&bytes);
        swarm.start_daemon(1);
        let mut error = String::new();
        wait_until(&format!("a verdict on a log with {damage}"), || {
            error = swarm.docker(1, &["info", "--format", "{{.Swarm.Error}}"]).expect();
            let list = swarm.docker(1, &["config", "ls", "--format", "{{.Name}}"]);
            if !error.is_empty() || list.ok && !list.out.is_empty() { Ok(()) } else { Err(list.err) }
        });
        if error.is_empty() {
            let names = swarm.docker(1, &["config", "ls", "--format", "{{.Name}}"]).expect();
            let mut names: Vec<&str> = names.lines().collect();
            names.sort_unstable();
            assert_eq!(names, ["one", "three", "two"], "with {damage} something went missing in silence");
            swarm.node_update(1, &["--label-add", "seen=yes", "h1"]);
        } else {
            refused += 1;
            assert_eq!(state(&swarm, 1), "error", "{damage}: {error}");
            swarm.docker(1, &["config", "create", "four", "/etc/hostname"]).expect_failure();
        }
        swarm.kill_daemon(1);
    }
    assert!(refused > 0, "no damage was noticed");
    // A whole log is still a good one; and a node that cannot use its log can always leave.
    put(&whole);
    swarm.start_daemon(1);
    wait_for("the manager to lead again", || swarm.leader(1).as_deref() == Some("h1"));
    swarm.kill_daemon(1);
    put(&whole[..whole.len() / 2]);
    swarm.start_daemon(1);
    wait_for("the damage to be seen", || state(&swarm, 1) == "error");
    swarm.docker(1, &["swarm", "leave", "--force"]).expect();
    swarm.init();
}

#[test]
fn a_kill_during_init_leaves_a_swarm_or_none() {
    let Some(mut swarm) = Swarm::start(1) else { return };
    let address = swarm.address(1);
    for point in POINTS {
        let file = data(&swarm, 1).join("swarm").join(point);
        kill_when(&mut swarm, 1, &["swarm", "init", "--advertise-addr", &address], || file.exists());
        swarm.start_daemon(1);
        if settled(&swarm, 1, point) == "inactive" {
            assert!(!data(&swarm, 1).join("swarm").exists(), "{point}: files of no swarm are left");
            swarm.init();
        }
        wait_for("the manager to lead", || swarm.leader(1).as_deref() == Some("h1"));
        swarm.docker(1, &["config", "create", "works", "/etc/hostname"]).expect();
        swarm.docker(1, &["swarm", "leave", "--force"]).expect();
    }
}

#[test]
fn a_kill_during_join_or_leave_leaves_a_member_or_none() {
    let Some(mut swarm) = Swarm::start(3) else { return };
    swarm.init();
    // Two that stay: one that has joined counts for the quorum, and may be killed then.
    swarm.join(2, "manager");
    let address = format!("{}:2377", swarm.address(1));
    for role in ["worker", "manager"] {
        let token = swarm.docker(1, &["swarm", "join-token", "-q", role]).expect();
        for point in POINTS.iter().filter(|point| role == "manager" || !point.starts_with("raft")) {
            let file = data(&swarm, 3).join("swarm").join(point);
            kill_when(&mut swarm, 3, &["swarm", "join", "--token", &token, &address], || file.exists());
            swarm.start_daemon(3);
            let what = format!("join as {role}, {point}");
            if settled(&swarm, 3, &what) == "inactive" {
                assert!(!data(&swarm, 3).join("swarm").exists(), "{what}: files of no swarm are left");
                swarm.docker(3, &["swarm", "join", "--token", &token, &address]).expect();
            }
            let status = if role == "manager" { "Reachable" } else { "" };
            wait_node(&swarm, &what, &node_id(&swarm, 3), &format!("Ready/{status}"));
            swarm.docker(1, &["config", "create", "works", "/etc/hostname"]).expect();
            swarm.docker(1, &["config", "rm", "works"]).expect();

            // And out again, killed at once or in the midst of wiping.
            let id = node_id(&swarm, 3);
            let gone = point.len() % 2 == 0;
            kill_when(&mut swarm, 3, &["swarm", "leave", "--force"], || gone != file.exists());
            swarm.start_daemon(3);
            // It goes on leaving by itself, or had not begun when it was killed.
            wait_until(&format!("h3 to be in no swarm ({what})"), || {
                let seen = state(&swarm, 3);
                if seen == "inactive" {
                    return Ok(());
                }
                let said = swarm.docker(3, &["swarm", "leave", "--force"]);
                Err(format!("{seen}: {}", said.err))
            });
            wait_node(&swarm, &what, &id, "Down");
            wait_until("the removal of what was killed", || {
                // A manager that was killed before it took itself out of the quorum is taken out by this.
                let demoted = swarm.docker(1, &["node", "demote", &id]);
                let removed = swarm.docker(1, &["node", "rm", "--force", &id]);
                if removed.ok { Ok(()) } else { Err(format!("{}{}", demoted.err, removed.err)) }
            });
        }
    }
    // Nodes that were given a certificate and died with it may stay on the list; none of them lives.
    let list = swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).expect();
    assert!(!list.contains("h3 Ready") && list.contains("h1 Ready") && list.contains("h2 Ready"), "{list}");
}

#[test]
fn a_kill_during_promotion_or_demotion_does_not_undo_it() {
    // Two that stay: see above.
    let Some(mut swarm) = Swarm::formed(2, 1) else { return };
    let id = node_id(&swarm, 3);
    let raft = data(&swarm, 3).join("swarm/raft");
    let certificate = data(&swarm, 3).join("swarm/certificates/swarm-node.crt");
    for point in ["at once", "a new certificate", "the log's directory", "the log"] {
        for (verb, status) in [("promote", "Ready/Reachable"), ("demote", "Ready/")] {
            wait_until(verb, || {
                let said = swarm.docker(1, &["node", verb, "h3"]);
                if said.ok { Ok(()) } else { Err(said.err) }
            });
            let before = fs::read(&certificate).expect("a certificate");
            let seen = || match point {
                "at once" => true,
                "a new certificate" => fs::read(&certificate).is_ok_and(|now| now != before) || raft.exists(),
                "the log's directory" => raft.exists() == (verb == "promote"),
                _ => raft.join("raft.db").exists() == (verb == "promote"),
            };
            wait_for(point, seen);
            swarm.kill_daemon(3);
            swarm.start_daemon(3);
            wait_node(&swarm, &format!("{verb}, killed with {point}"), &id, status);
            wait_for("the node to answer by its role", || swarm.docker(3, &["node", "ls"]).ok == (verb == "promote"));
            wait_until("writes", || {
                let said = swarm.docker(1, &["node", "update", "--label-add", &format!("after={verb}"), "h3"]);
                if said.ok { Ok(()) } else { Err(said.err) }
            });
        }
    }
}

/// Files of a member, in the order in which they come into being.
const POINTS: [&str; 7] = [
    "",
    "docker-state.json",
    "certificates/swarm-root-ca.crt",
    "certificates/swarm-node.key",
    "certificates/swarm-node.crt",
    "raft/raft.db",
    "worker/tasks.db",
];

/// Starts a command and kills the daemon as soon as something is seen, or the command is done.
fn kill_when(swarm: &mut Swarm, number: usize, words: &[&str], seen: impl Fn() -> bool) {
    let mut client = start_client(swarm, number, words);
    wait_for("the point of the kill", || seen() || !matches!(client.try_wait(), Ok(None)));
    swarm.kill_daemon(number);
    client.wait().expect("the client ends");
}

fn start_client(swarm: &Swarm, number: usize, words: &[&str]) -> Child {
    Command::new("docker")
        .arg("-H")
        .arg(format!("unix://{}", swarm.socket(number).display()))
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker is installed")
}

/// The state that a restarted node comes to: `inactive` or `active`, nothing in between and no error.
fn settled(swarm: &Swarm, number: usize, what: &str) -> String {
    let mut seen = String::new();
    wait_until(&format!("a consistent node after a kill ({what})"), || {
        seen = state(swarm, number);
        let error = swarm.docker(number, &["info", "--format", "{{.Swarm.Error}}"]).out;
        assert_ne!(seen, "error", "{what}: {error}");
        if seen == "inactive" || seen == "active" && error.trim().is_empty() { Ok(()) } else { Err(error) }
    });
    seen
}

fn state(swarm: &Swarm, number: usize) -> String {
    swarm.docker(number, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).expect()
}

fn node_id(swarm: &Swarm, number: usize) -> String {
    swarm.docker(number, &["info", "--format", "{{.Swarm.NodeID}}"]).expect()
}

fn data(swarm: &Swarm, number: usize) -> PathBuf {
    let directory: &Path = swarm.host(number).directory();
    directory.join("data")
}

fn on_host(swarm: &Swarm, words: &[&str]) {
    let status = swarm.host(1).command(words[0]).args(&words[1..]).status().expect("it runs");
    assert!(status.success(), "{words:?}");
}

/// Waits until a node's status and manager status begin so.
#[track_caller]
fn wait_node(swarm: &Swarm, what: &str, id: &str, wanted: &str) {
    wait_until(&format!("{wanted} ({what})"), || {
        let list = swarm.docker(1, &["node", "ls", "--format", "{{.ID}} {{.Status}}/{{.ManagerStatus}}"]);
        let line = list.out.lines().find(|line| line.starts_with(id)).map(|line| &line[id.len() + 1..]);
        let holds = line.is_some_and(|line| if wanted == "Down" { line.starts_with(wanted) } else { line == wanted });
        if holds { Ok(()) } else { Err(format!("{}{}", list.out, list.err)) }
    });
}

#[track_caller]
fn wait_states(swarm: &Swarm, asked: usize, wanted: &[&str]) {
    wait_until(&format!("{wanted:?}"), || {
        let list = swarm.docker(asked, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out;
        let mut lines: Vec<&str> = list.lines().collect();
        lines.sort_unstable();
        if lines == wanted { Ok(()) } else { Err(list) }
    });
}
