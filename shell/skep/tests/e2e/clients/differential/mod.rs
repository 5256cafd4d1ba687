//! The same requests to a real Docker 20.10 manager and to Skep: statuses, texts and JSON must be the same, but for
//! what `allowed` lists with its reason.

mod allowed;
mod authority;
mod bounds;
pub mod compare;
mod dependencies;
mod events;
mod mesh;
mod networks;
mod service_specs;
mod services;
mod system;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::authority::Roots;
use crate::clients::http::{Answer, ask};
use crate::engine::{self, Engine};
use crate::support::{Swarm, wait_until};
use compare::{Difference, Names, differences, plain};

pub use allowed::matches;

/// What the requests ask for, unless they say otherwise: the newest that both speak.
const VERSION: &str = "/v1.41";
/// How long the two may take to come to the same.
const ALIKE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// What every list is asked with besides.
const MALFORMED_FILTERS: &[&str] = &["{", "[]", r#"{"name":"x"}"#];

#[test]
fn a_docker_manager_and_skep_answer_alike() {
    if !engine::is_installed() {
        return;
    }
    let Some(mut swarm) = Swarm::start(1) else { return };
    let number = swarm.add_bare_host();
    let docker = Engine::start(&swarm, number);
    let mut pair = Pair::new(&swarm, number, &docker);

    system::without_a_swarm(&mut pair);
    bounds::before_there_is_a_swarm(&mut pair);
    pair.init();
    swarm.load_busybox([1]);

    system::facts(&mut pair);
    system::paths_and_versions(&mut pair);
    system::nodes(&mut pair);
    system::the_swarm(&mut pair);
    authority::roots_and_external_cas(&mut pair, &Roots::new(&swarm));
    dependencies::secrets_and_configs(&mut pair);
    networks::networks(&mut pair);
    service_specs::accepted_and_refused(&mut pair);
    bounds::of_every_field(&mut pair);
    services::updates(&mut pair);
    mesh::ports_of_the_mesh(&mut pair);
    tasks::running_ones(&mut pair);
    events::of_the_swarm(&mut pair);
    system::leaving(&mut pair);
    pair.judge();
}

/// One of the two daemons.
struct Side {
    socket: PathBuf,
    names: Names,
    /// What `<word>` stands for in paths and bodies.
    words: BTreeMap<String, String>,
    last: Value,
}

/// Both, and what differed so far.
pub struct Pair {
    sides: [Side; 2],
    step: String,
    unexplained: Vec<String>,
    used: BTreeSet<usize>,
    steps: usize,
}

impl Pair {
    fn new(swarm: &Swarm, docker_host: usize, docker: &Engine) -> Self {
        let side = |number: usize, socket: PathBuf| Side {
            socket,
            names: Names { address: swarm.address(number), hostname: swarm.host(number).hostname().to_owned() },
            words: BTreeMap::from([("address".to_owned(), swarm.address(number))]),
            last: Value::Null,
        };
        Self {
            sides: [side(docker_host, docker.socket.clone()), side(1, swarm.socket(1))],
            step: String::new(),
            unexplained: Vec::new(),
            used: BTreeSet::new(),
            steps: 0,
        }
    }

    fn init(&mut self) {
        let body = json!({ "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "<address>" });
        self.post("swarm/init", "/swarm/init", &body);
    }

    /// A read.
    pub fn get(&mut self, step: &str, path: &str) {
        self.send(step, "GET", path, None, &[]);
    }

    /// A list with each of these filters, and with what are none.
    pub fn filtered_by(&mut self, step: &str, path: &str, filters: &[&str]) {
        for filters in filters.iter().chain(MALFORMED_FILTERS) {
            self.filtered(step, path, filters);
        }
    }

    /// A read with filters.
    pub fn filtered(&mut self, step: &str, path: &str, filters: &str) {
        let encoded: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.get(&format!("{step} {filters}"), &format!("{path}?filters={encoded}"));
    }

    pub fn post(&mut self, step: &str, path: &str, body: &Value) {
        self.send(step, "POST", path, Some(&body.to_string()), &[]);
    }

    pub fn delete(&mut self, step: &str, path: &str) {
        self.send(step, "DELETE", path, None, &[]);
    }

    /// Sends the same to both and notes what differs. A path without `/v…` gets the common version.
    pub fn send(&mut self, step: &str, method: &str, path: &str, body: Option<&str>, headers: &[(&str, &str)]) {
        self.step = step.to_owned();
        self.steps += 1;
        let path =
            if path.starts_with("/v") || path.starts_with("//") { path.to_owned() } else { format!("{VERSION}{path}") };
        let path = path.strip_prefix('/').filter(|rest| rest.starts_with('/')).unwrap_or(&path).to_owned();
        let answers = self.sides.each_mut().map(|side| {
            let path = side.filled(&path);
            let answer = ask(&side.socket, method, &path, body.map(|body| side.filled(body)).as_deref(), headers);
            side.last = answer.json();
            answer
        });
        for difference in self.compare(&answers) {
            self.note(&difference);
        }
    }

    fn compare(&self, [docker, skep]: &[Answer; 2]) -> Vec<Difference> {
        let mut found = Vec::new();
        if docker.status != skep.status {
            let how = format!("docker {} {}, skep {} {}", docker.status, docker.text(), skep.status, skep.text());
            found.push(Difference { at: "status".to_owned(), how });
            return found;
        }
        if docker.content_type != skep.content_type {
            let how = format!("docker {:?}, skep {:?}", docker.content_type, skep.content_type);
            found.push(Difference { at: "content-type".to_owned(), how });
        }
        let [left, right] = [(docker, &self.sides[0]), (skep, &self.sides[1])].map(|(answer, side)| {
            let mut value = match serde_json::from_slice(&answer.body) {
                Ok(value) => value,
                Err(_) => Value::from(answer.text()),
            };
            plain(&mut value, &side.names);
            value
        });
        differences("", &left, &right, &mut found);
        found
    }

    /// A difference that was found in some other way than by one answer each.
    pub fn values(&mut self, step: &str, docker: &Value, skep: &Value) {
        self.step = step.to_owned();
        let [mut left, mut right] = [docker.clone(), skep.clone()];
        plain(&mut left, &self.sides[0].names);
        plain(&mut right, &self.sides[1].names);
        let mut found = Vec::new();
        differences("", &left, &right, &mut found);
        for difference in found {
            self.note(&difference);
        }
    }

    fn note(&mut self, difference: &Difference) {
        let explained = allowed::ALLOWED
            .iter()
            .position(|(step, at, _)| allowed::matches(step, &self.step) && allowed::matches(at, &difference.at));
        match explained {
            Some(number) => {
                self.used.insert(number);
            }
            None => self.unexplained.push(format!("{} {}: {}", self.step, difference.at, difference.how)),
        }
    }

    /// Remembers what the last answers hold at a JSON pointer, as `<word>`.
    pub fn remember(&mut self, word: &str, pointer: &str) {
        for side in &mut self.sides {
            let value = side.last.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            assert!(!value.is_empty(), "after {}: nothing at {pointer} in {}", self.step, side.last);
            side.words.insert(word.to_owned(), value);
        }
    }

    /// Whether both said yes to the last request that makes something.
    pub fn both_made(&self) -> bool {
        self.sides.iter().all(|side| side.last.get("ID").or_else(|| side.last.get("Id")).is_some())
    }

    /// Whether the last `init` was taken by either.
    pub fn any_is_in_a_swarm(&self) -> bool {
        self.sides.iter().any(|side| side.last.is_string())
    }

    /// Both leave their swarms, without comparing.
    pub fn leave(&mut self) {
        for side in &self.sides {
            ask(&side.socket, "POST", &format!("{VERSION}/swarm/leave?force=1"), None, &[]);
        }
    }

    /// Removes what either made, without comparing.
    pub fn clean(&mut self, path: &str) {
        for side in &mut self.sides {
            let path = side.filled(&format!("{VERSION}{path}"));
            ask(&side.socket, "DELETE", &path, None, &[]);
        }
    }

    /// Waits until both answer something that is so.
    #[track_caller]
    pub fn settle(&mut self, path: &str, holds: impl Fn(&Value) -> bool) {
        for side in &self.sides {
            let path = side.filled(&format!("{VERSION}{path}"));
            wait_until(&path, || {
                let answer = ask(&side.socket, "GET", &path, None, &[]);
                if holds(&answer.json()) { Ok(()) } else { Err(answer.text()) }
            });
        }
    }

    /// Docker's allocator comes to an object in its own time: waits until both have the same there. What never becomes so
    /// is for the comparison to tell.
    pub fn settle_alike(&mut self, path: &str, at: &str) {
        let seen = |side: &Side| {
            let answer = ask(&side.socket, "GET", &side.filled(&format!("{VERSION}{path}")), None, &[]);
            answer.json().pointer(at).cloned()
        };
        let begin = std::time::Instant::now();
        while begin.elapsed() < ALIKE_PATIENCE {
            let [docker, skep] = self.sides.each_ref().map(seen);
            if docker == skep {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Sockets, Docker's first.
    pub fn sockets(&self) -> [PathBuf; 2] {
        self.sides.each_ref().map(|side| side.socket.clone())
    }

    /// Fails with everything that differs, and with reasons that no longer explain anything.
    fn judge(self) {
        let stale: Vec<String> = allowed::ALLOWED
            .iter()
            .enumerate()
            .filter(|(number, _)| !self.used.contains(number))
            .map(|(_, (step, at, why))| format!("no longer differs: {step} {at} ({why})"))
            .collect();
        assert!(self.steps > 300, "only {} requests were compared", self.steps);
        assert!(
            self.unexplained.is_empty() && stale.is_empty(),
            "{} of {} requests:\n{}\n{}",
            self.unexplained.len(),
            self.steps,
            self.unexplained.join("\n"),
            stale.join("\n")
        );
        println!("{} requests compared, {} reasons for differences", self.steps, self.used.len());
    }
}

impl Side {
    /// Replaces `<word>` by what was remembered, and `<version kind/name>` by that object's present version.
    fn filled(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            let (word, behind) = after.split_once('>').expect("a closed placeholder");
            out += before;
            match word.strip_prefix("version ") {
                Some(object) => {
                    let path = self.filled_words(&format!("{VERSION}/{object}"));
                    let answer = ask(&self.socket, "GET", &path, None, &[]).json();
                    out += &answer.pointer("/Version/Index").map_or("0".to_owned(), Value::to_string);
                }
                None => out += self.words.get(word).unwrap_or_else(|| panic!("<{word}> was not remembered")),
            }
            rest = behind;
        }
        out + rest
    }

    fn filled_words(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("({word})"), value))
    }
}

/// A service of one replica that sleeps, with more on top.
pub fn service(name: &str, more: Value) -> Value {
    let mut spec = json!({
        "Name": name,
        "TaskTemplate": { "ContainerSpec": { "Image": "busybox:latest", "Command": ["sleep", "1000"] } },
        "Mode": { "Replicated": { "Replicas": 1 } },
    });
    merge(&mut spec, more);
    spec
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                match into.get_mut(&key) {
                    Some(known) if known.is_object() && value.is_object() => merge(known, value),
                    _ => drop(into.insert(key, value)),
                }
            }
        }
        (into, more) => *into = more,
    }
}
