//! A daemon that answers from a list and remembers what it was asked, and the two clients.

mod answers;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

/// What a client said.
pub struct Outcome {
    pub out: String,
    pub error: String,
    pub code: i32,
}

/// Serves until the test ends.
pub struct Daemon {
    directory: TempDir,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let seen = seen.clone();
                std::thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { directory, requests }
    }

    fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("s").display())
    }

    /// What was asked since the last time, in a form that two clients share.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn serve(mut stream: UnixStream, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let path = match path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|slash| &rest[slash..])) {
        Some(rest) => rest,
        None => path,
    };
    if !matches!(path, "/_ping" | "/info" | "/version") {
        seen.lock().unwrap().push(format!("{method} {path} {} {}", shared_query(query), shared_body(&body)));
    }
    let answer = answers::answer(&method, path, query);
    let head = format!(
        "HTTP/1.1 {} X\r\nApi-Version: 1.47\r\nOstype: linux\r\nServer: Docker/27.0.0 (linux)\r\nContent-Type: {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.kind,
        answer.body.len()
    );
    let upgrade = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".to_owned();
    let head = if answer.status == 101 { upgrade } else { head };
    let body: &[u8] = if method == "HEAD" { b"" } else { &answer.body };
    // A client that has heard enough may be gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// Sorted, what says nothing left out.
fn shared_query(query: &str) -> String {
    let mut pairs: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter(|pair| !matches!(*pair, "insertDefaults=false" | "rollback=none" | "platform=" | "all=0"))
        .filter(|pair| !pair.ends_with('='))
        .filter(|pair| !(pair.starts_with("rotate") && pair.ends_with("=false")))
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

fn shared_body(body: &[u8]) -> String {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return String::new() };
    prune(&mut value);
    value.to_string()
}

/// Takes away what Go's zero values and this client's silence have in common: nothing.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, value| match value {
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(list) => !list.is_empty(),
                Value::Object(map) => !map.is_empty(),
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::Bool(true) => true,
            });
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

#[derive(Clone, Default)]
struct Buffer(Rc<RefCell<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs this client in this process.
pub fn skep(daemon: &Daemon, command: &[&str]) -> Outcome {
    skep_at(&daemon.url(), command)
}

/// The same, anywhere.
pub fn skep_at(url: &str, command: &[&str]) -> Outcome {
    let (out, error) = (Buffer::default(), Buffer::default());
    let arguments: Vec<OsString> =
        ["skep", "-H", url].iter().chain(command).map(|word| OsString::from(*word)).collect();
    let code = skep_cli::run_with(arguments, Box::new(out.clone()), Box::new(error.clone()));
    let text = |buffer: &Buffer| String::from_utf8(buffer.0.borrow().clone()).unwrap();
    Outcome { out: text(&out), error: text(&error), code: i32::from(code) }
}

/// Docker's client whose words are ours; older ones have others.
const OLDEST_MAJOR: u32 = 28;

/// The first client in the path that is new enough.
fn docker_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("docker")).find(|program| {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let version = text.strip_prefix("Docker version ").and_then(|rest| rest.split('.').next());
        version.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= OLDEST_MAJOR)
    })
}

/// Runs docker's client, if there is one that is new enough.
pub fn docker(daemon: &Daemon, command: &[&str]) -> Option<Outcome> {
    let Some(program) = docker_program() else {
        eprintln!("SKIPPED comparison of {command:?}: there is no docker client of version {OLDEST_MAJOR} or later");
        return None;
    };
    let output = Command::new(program)
        .args(["-H", &daemon.url()])
        .args(command)
        .env("DOCKER_CONFIG", daemon.directory.path())
        .env_remove("DOCKER_API_VERSION")
        .output()
        .unwrap();
    Some(Outcome {
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap_or(-1),
    })
}
