//! The stock CLI, each flag of each swarm command, against a Docker 20.10 manager and Skep: the same ends, the same
//! words, and the same stored specs. Every `docker` on this machine is tried: Debian's 20.10, and a newer one if there
//! is one. `covered` holds the tables to what the client's own help lists.

mod flags;
mod lines;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::clients::differential::compare::{Difference, Names, differences, plain};
use crate::clients::differential::matches;
use crate::engine::{self, Engine};
use crate::support::{Swarm, wait_until};

/// What both daemons and every client speak.
const API_VERSION: &str = "1.41";
/// Groups of commands that are a swarm's.
const GROUPS: [&str; 7] = ["service", "stack", "secret", "config", "node", "swarm", "network"];

#[test]
fn every_flag_does_what_it_does_with_docker() {
    if !engine::is_installed() {
        return;
    }
    let clients = clients();
    let Some(mut swarm) = Swarm::start(1) else { return };
    let number = swarm.add_bare_host();
    let docker = Engine::start(&swarm, number);
    let files = Files::new(swarm.lab.directory());
    swarm.load_busybox([1]);
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for client in clients {
        let side = |number: usize, socket: PathBuf| Side {
            client: client.clone(),
            socket,
            names: Names { address: swarm.address(number), hostname: swarm.host(number).hostname().to_owned() },
        };
        let mut both = Both {
            sides: [side(number, docker.socket.clone()), side(1, swarm.socket(1))],
            files: &files,
            found: Vec::new(),
            used: BTreeSet::new(),
        };
        flags::walk(&mut both);
        lines::walk(&mut both);
        found.extend(both.found.into_iter().map(|text| format!("{}: {text}", client.display())));
        used.extend(both.used);
        found.extend(uncovered(&client));
    }
    let stale = lines::ALLOWED.iter().enumerate().filter(|(number, _)| !used.contains(number));
    found.extend(stale.map(|(_, (step, at, why))| format!("no longer differs: {step} {at} ({why})")));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_own_client_takes_the_same_flags() {
    let mut missing = Vec::new();
    for client in clients() {
        for command in commands(&client) {
            let words: Vec<&str> = command.split(' ').collect();
            let own = help_of(Path::new(env!("CARGO_BIN_EXE_skep")), &words);
            let own: BTreeSet<String> = flags_in(&own).into_iter().collect();
            for flag in flags_in(&help_of(&client, &words)) {
                let known = lines::NOT_OURS.iter().any(|(what, _)| matches(what, &format!("{command} {flag}")));
                if !own.contains(&flag) && !known {
                    missing.push(format!("{}: {command} {flag}", client.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Every `docker` in the path; one of them is Debian's.
fn clients() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found: BTreeSet<PathBuf> = std::env::split_paths(&path)
        .map(|directory| directory.join("docker"))
        .filter(|program| program.exists())
        .filter_map(|program| program.canonicalize().ok())
        .collect();
    assert!(!found.is_empty(), "docker is installed");
    found.into_iter().collect()
}

struct Side {
    client: PathBuf,
    socket: PathBuf,
    names: Names,
}

/// What a client said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Side {
    fn run(&self, words: &[&str]) -> Said {
        let output = Command::new(&self.client)
            .args(["-H", &format!("unix://{}", self.socket.display())])
            .args(words)
            .env("DOCKER_API_VERSION", API_VERSION)
            .env("DOCKER_CLI_HINTS", "false")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.client.display()));
        Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// JSON as it is, text with what must differ made the same.
    fn plain(&self, text: &str) -> Value {
        let text = text.trim();
        let mut value = match serde_json::from_str::<Value>(text) {
            Ok(value) if value.is_array() || value.is_object() => value,
            _ => Value::from(even(text)),
        };
        plain(&mut value, &self.names);
        sort_environment(&mut value);
        value
    }
}

/// Docker's client sends variables in no order when it changes some.
fn sort_environment(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                match item {
                    Value::Array(list) if key == "Env" => list.sort_by_key(Value::to_string),
                    item => sort_environment(item),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(sort_environment),
        _ => {}
    }
}

/// Ages and widths of columns follow the clock; keys and cut ids are each daemon's own.
fn even(text: &str) -> String {
    text.lines().map(even_line).collect::<Vec<_>>().join("\n")
}

fn even_line(line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().enumerate().map(|(place, word)| even_word(place, word)).collect();
    let mut line = words.join(" ");
    for unit in ["second", "minute", "hour"] {
        for ending in [format!("{unit}s ago"), format!("{unit} ago")] {
            while let Some(end) = line.find(&ending) {
                // `5`, `About a`, `Less than a` stand before.
                let before: Vec<&str> = line[..end].split(' ').filter(|word| !word.is_empty()).collect();
                let vague = ["About", "Less", "than", "a", "an", "about", "less"];
                let is_span = |word: &&&str| vague.contains(*word) || word.parse::<u32>().is_ok();
                let keep = before.len() - before.iter().rev().take_while(is_span).count();
                line = format!("{} AGO{}", before[..keep].join(" "), &line[end + ending.len()..]);
            }
        }
    }
    line
}

fn even_word(place: usize, word: &str) -> String {
    let lower = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let has_digit = word.chars().any(|letter| letter.is_ascii_digit());
    let cut = word.len() == 12 && word.chars().all(lower) && (place == 0 || has_digit);
    let long = word.len() >= 40 && word.chars().all(|letter| letter.is_ascii_alphanumeric());
    let key = word.starts_with("SWMTKN-1-") || word.starts_with("SWMKEY-1-");
    let shape: String = word.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    if long || key || cut {
        "KEY".to_owned()
    } else if shape == "0000-00-00" || shape.starts_with("00:00:00.") {
        "TIME".to_owned()
    } else {
        word.to_owned()
    }
}

/// Both daemons under one client.
struct Both<'a> {
    sides: [Side; 2],
    files: &'a Files,
    found: Vec<String>,
    used: BTreeSet<usize>,
}

impl Both<'_> {
    /// The same command to both; what it said and how it ended is compared.
    fn line(&mut self, line: &str) {
        self.run(line, true);
    }

    /// The same, but only how it ended.
    fn quietly(&mut self, line: &str) {
        self.run(line, false);
    }

    fn run(&mut self, line: &str, whole: bool) {
        let said = self.sides.each_ref().map(|side| {
            let filled = self.files.fill(line).replace("<address>", &side.names.address);
            side.run(&words(&filled).iter().map(String::as_str).collect::<Vec<_>>())
        });
        let [docker, skep] = &said;
        if docker.code != skep.code {
            let how = format!(
                "docker {:?} {}{}, skep {:?} {}{}",
                docker.code, docker.out, docker.err, skep.code, skep.out, skep.err
            );
            self.note(line, &Difference { at: "code".to_owned(), how });
            return;
        }
        if whole {
            for (stream, docker, skep) in [("out", &docker.out, &skep.out), ("err", &docker.err, &skep.err)] {
                let mut found = Vec::new();
                differences(stream, &self.sides[0].plain(docker), &self.sides[1].plain(skep), &mut found);
                for difference in found {
                    self.note(line, &difference);
                }
            }
        }
    }

    fn note(&mut self, line: &str, difference: &Difference) {
        let explained =
            lines::ALLOWED.iter().position(|(step, at, _)| matches(step, line) && matches(at, &difference.at));
        match explained {
            Some(number) => drop(self.used.insert(number)),
            None => self.found.push(format!("{line} {}: {}", difference.at, difference.how)),
        }
    }

    /// Waits until a command says something on both.
    #[track_caller]
    fn settle(&self, line: &str, wanted: &str) {
        for side in &self.sides {
            let filled = words(line);
            wait_until(line, || {
                let said = side.run(&filled.iter().map(String::as_str).collect::<Vec<_>>());
                if said.out.trim() == wanted { Ok(()) } else { Err(format!("{}{}", said.out, said.err)) }
            });
        }
    }
}

/// Words of a line; what stands in quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Files that commands read.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn new(parent: &Path) -> Self {
        let directory = parent.join("files");
        std::fs::create_dir_all(&directory).expect("a directory");
        for (name, text) in lines::FILES {
            std::fs::write(directory.join(name), text).expect("a file");
        }
        Self { directory }
    }

    fn fill(&self, line: &str) -> String {
        line.replace("<files>", &self.directory.display().to_string())
    }
}

/// `service create`, …: what a client has.
fn commands(client: &Path) -> Vec<String> {
    let mut commands = Vec::new();
    for group in GROUPS {
        let help = help_of(client, &[group]);
        let list = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
        for line in list.take_while(|line| line.starts_with("  ")) {
            commands.extend(line.split_whitespace().next().map(|command| format!("{group} {command}")));
        }
    }
    assert!(commands.len() > 35, "{commands:?}");
    commands
}

fn help_of(client: &Path, words: &[&str]) -> String {
    let output = Command::new(client).args(words).arg("--help").stdin(Stdio::null()).output().expect("a client");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `--name`, …, as a help text lists them.
fn flags_in(help: &str) -> Vec<String> {
    let flag = |line: &str| {
        let line = line.trim_start();
        let line = line.split_once(", ").filter(|(short, _)| short.len() == 2).map_or(line, |(_, rest)| rest);
        let end = line.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-')).unwrap_or(line.len());
        line.starts_with("--").then(|| line[..end].to_owned())
    };
    help.lines().filter(|line| line.starts_with(' ')).filter_map(flag).filter(|flag| flag != "--help").collect()
}

/// Flags of a client that no line tries.
fn uncovered(client: &Path) -> Vec<String> {
    let tried: Vec<String> = flags::lines().into_iter().chain(lines::lines()).collect();
    let mut missing = Vec::new();
    for command in commands(client) {
        for flag in flags_in(&help_of(client, &command.split(' ').collect::<Vec<_>>())) {
            let is_tried = tried.iter().any(|line| {
                line.starts_with(&format!("{command} ")) && line.split([' ', '=']).any(|word| word == flag)
            });
            let left_out = lines::LEFT_OUT.iter().any(|(what, _)| matches(what, &format!("{command} {flag}")));
            if !is_tried && !left_out {
                missing.push(format!("{}: no line tries {command} {flag}", client.display()));
            }
        }
    }
    missing
}

#[test]
fn ages_and_ids_are_made_even() {
    for age in ["5 seconds ago", "1 second ago", "Less than a second ago", "about a minute ago", "About an hour ago"] {
        assert_eq!(even(&format!("abcdefghijk1   r.1  Running {age}   x")), "KEY r.1 Running AGO x", "{age}");
    }
    assert_eq!(even("Created at: 2026-01-02 03:04:05.678 +0000 utc"), "Created at: TIME TIME +0000 utc");
}
