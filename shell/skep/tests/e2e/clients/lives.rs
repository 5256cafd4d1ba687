//! Services live the same lives as with Docker 20.10: the same commands to one node of each, and in the end the same
//! tasks in `service ps`, with the same states and reasons, and the same words for how the update went.
//!
//! Each step waits for what it names, never for a time. Differences that are meant have their reason in `ALLOWED`.

use crate::clients::verdict::{Allowed, Verdict};
use crate::engine::{self, Engine};
use crate::support::{Said, Swarm, wait_until};

const SLEEP: &str = "busybox sleep 1000";
const FAIL: &str = "busybox false";

/// A service's name and its steps: `create`, `update`, `rollback`, `scale` with their words, or what is waited for:
/// `running N` (tasks that run and should), `ended N` (tasks that are over), `state WORD` (of the update),
/// `told TEXT` (as an error in `service ps`).
const LIVES: &[(&str, &[&str])] = &[
    ("scaled", &["create --replicas 3 SLEEP", "running 3", "scale 5", "running 5", "scale 1", "running 1", "ended 0"]),
    ("forced", &["create SLEEP", "running 1", "update --force", "state completed", "ended 1"]),
    (
        "missing-image",
        &[
            "create --update-monitor 20s --restart-condition none SLEEP",
            "running 1",
            "update --image nosuchimage.invalid/none:1",
            "state paused",
            "ended 2",
        ],
    ),
    (
        "rolls-back",
        &[
            "create --update-monitor 20s --rollback-monitor 1s --update-failure-action rollback --restart-condition none SLEEP",
            "running 1",
            "update --args false",
            "state rollback_completed",
            "ended 2",
            "running 1",
        ],
    ),
    (
        "goes-on",
        &[
            "create --replicas 2 --update-monitor 1s --update-failure-action continue --restart-condition none SLEEP",
            "running 2",
            "update --args false",
            "state completed",
            "ended 4",
        ],
    ),
    (
        "within-ratio",
        &[
            "create --replicas 2 --update-monitor 20s --update-max-failure-ratio 0.5 --restart-condition none SLEEP",
            "running 2",
            "update --args false",
            "state paused",
            "ended 4",
        ],
    ),
    (
        "by-hand",
        &[
            "create --update-monitor 1s --rollback-monitor 1s SLEEP",
            "running 1",
            "update --args 'sleep 2000'",
            "state completed",
            "rollback",
            "state rollback_completed",
            "rollback",
            "state rollback_completed",
            "running 1",
        ],
    ),
    (
        "start-first",
        &[
            "create --update-order start-first --update-monitor 1s SLEEP",
            "running 1",
            "update --env-add A=1",
            "state completed",
            "running 1",
            "ended 1",
        ],
    ),
    ("tries-thrice", &["create --restart-max-attempts 2 --restart-delay 100ms FAIL", "ended 3"]),
    ("never-again", &["create --restart-condition none FAIL", "ended 1"]),
    ("content", &["create --restart-condition on-failure busybox true", "ended 1"]),
    ("any-end", &["create --restart-max-attempts 1 --restart-delay 100ms busybox true", "ended 2"]),
    ("job", &["create --mode replicated-job --replicas 4 --max-concurrent 2 busybox true", "ended 4"]),
    (
        "failing-job",
        &["create --mode replicated-job --replicas 1 --restart-max-attempts 1 --restart-delay 100ms FAIL", "ended 2"],
    ),
    ("global-job", &["create --mode global-job busybox true", "ended 1"]),
    ("job-again", &["create --mode replicated-job busybox true", "ended 1", "update --force", "ended 2"]),
    ("everywhere", &["create --mode global SLEEP", "running 1", "update --env-add A=1", "state completed", "ended 1"]),
    ("nowhere", &["create --constraint node.labels.nope==x SLEEP", "told no suitable node"]),
    ("two-filters", &["create --constraint node.labels.nope==x --reserve-memory 1000g SLEEP", "told no suitable node"]),
    ("too-big", &["create --reserve-memory 1000g SLEEP", "told no suitable node"]),
    ("too-many-cpus", &["create --reserve-cpu 1000 SLEEP", "told no suitable node"]),
    ("too-odd", &["create --generic-resource gpu=1 SLEEP", "told no suitable node"]),
    ("one-per-node", &["create --replicas 2 --replicas-max-per-node 1 SLEEP", "running 1", "told no suitable node"]),
    (
        "one-port",
        &[
            "create --replicas 2 --publish mode=host,published=7070,target=7070 SLEEP",
            "running 1",
            "told no suitable node",
        ],
    ),
    (
        "then-somewhere",
        &[
            "create --constraint node.labels.nope==x SLEEP",
            "told no",
            "update --constraint-rm node.labels.nope==x",
            "running 1",
        ],
    ),
    ("no-program", &["create --restart-condition none busybox nosuch", "ended 1"]),
    ("no-source", &["create --restart-condition none --mount type=bind,source=/no/such,target=/x SLEEP", "ended 1"]),
    (
        "sick",
        &[
            "create --restart-condition none --health-cmd false --health-interval 200ms --health-retries 1 SLEEP",
            "ended 1",
        ],
    ),
    ("killed", &["create --restart-condition none busybox sh -c 'kill -9 $$; sleep 5'", "ended 1"]),
    (
        "hungry",
        &[
            "create --restart-condition none --limit-memory 16m busybox sh -c 'head -c 100m /dev/zero | tail'",
            "ended 1",
        ],
    ),
    (
        "same-again",
        &["create SLEEP", "running 1", "update --label-add a=b", "running 1", "update --update-delay 1s", "running 1"],
    ),
    ("to-nothing", &["create --replicas 2 SLEEP", "running 2", "scale 0", "running 0"]),
];

/// Service and row, reason. `*` stands for anything.
const ALLOWED: &[Allowed] = &[
    ("missing-image", "* Rejected *", "what the registry answered is said, too"),
    ("job-again", "job-again * Complete *", "a completed task of an earlier run is no longer wanted"),
    ("then-somewhere", "* Shutdown Shutdown *", "a task that no node ever had leaves nothing"),
    ("then-somewhere", "count", "a task that no node ever had leaves nothing"),
    ("no-program", "* Failed *", "without the names of Docker's programs"),
    ("hungry", "* Failed *", "what it died of is said"),
];

#[test]
fn services_live_as_they_do_with_docker() {
    if !engine::is_installed() {
        return;
    }
    let Some(mut swarm) = Swarm::start(1) else { return };
    let number = swarm.add_bare_host();
    let docker = Engine::start(&swarm, number);
    swarm.load_busybox([1]);
    let sides = [
        Side { who: "docker", address: swarm.address(number), run: Box::new(|words| docker.docker(words)) },
        Side { who: "skep", address: swarm.address(1), run: Box::new(|words| swarm.docker(1, words)) },
    ];
    // Both at once, and each does all services' first steps before any second one.
    let [docker, skep] = std::thread::scope(|scope| {
        let lived = [scope.spawn(|| sides[0].live()), scope.spawn(|| sides[1].live())];
        lived.map(|side| side.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut verdict = Verdict::new(ALLOWED);
    for (((name, _), docker), skep) in LIVES.iter().zip(&docker).zip(&skep) {
        let alone = |one: &[String], other: &[String], side: &str| -> Vec<(String, String)> {
            let rows = one.iter().filter(|row| !other.contains(row));
            rows.map(|row| (row.clone(), format!("[{name}] {side} alone: {row}"))).collect()
        };
        let counts = (docker.len() != skep.len())
            .then(|| ("count".to_owned(), format!("[{name}] docker has {} rows, skep {}", docker.len(), skep.len())));
        let rows = [alone(docker, skep, "docker"), alone(skep, docker, "skep")].concat();
        for (row, told) in rows.into_iter().chain(counts) {
            verdict.note(name, &row, told);
        }
    }
    verdict.pronounce();
}

type Run<'a> = dyn Fn(&[&str]) -> Said + Sync + 'a;

/// A daemon under the stock client.
struct Side<'a> {
    who: &'static str,
    address: String,
    run: Box<Run<'a>>,
}

impl Side<'_> {
    /// All lives to their ends; what is left of each.
    fn live(&self) -> Vec<Vec<String>> {
        (self.run)(&["swarm", "init", "--advertise-addr", &self.address]).expect();
        let longest = LIVES.iter().map(|(_, steps)| steps.len()).max().unwrap_or_default();
        for number in 0..longest {
            for (name, steps) in LIVES {
                if let Some(step) = steps.get(number) {
                    self.step(name, step);
                }
            }
        }
        LIVES.iter().map(|(name, _)| self.left(name)).collect()
    }

    fn step(&self, name: &str, step: &str) {
        let step = step.replace("SLEEP", SLEEP).replace("FAIL", FAIL);
        let (verb, rest) = step.split_once(' ').unwrap_or((step.as_str(), ""));
        let given = words(rest);
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let command = |first: &[&str], last: &[&str]| {
            let all = [&["service"], first, &given[..], last].concat();
            (self.run)(&all).expect();
        };
        match verb {
            "create" => {
                let first = ["create", "--detach", "--no-resolve-image", "--stop-signal", "KILL", "--name", name];
                command(&first, &[]);
            }
            "update" => command(&["update", "--detach", "--no-resolve-image"], &[name]),
            "rollback" => command(&["rollback", "--detach"], &[name]),
            "scale" => {
                (self.run)(&["service", "scale", "--detach", &format!("{name}={rest}")]).expect();
            }
            _ => self.wait(name, verb, rest),
        }
    }

    fn wait(&self, name: &str, what: &str, wanted: &str) {
        wait_until(&format!("{}'s {name}: {what} {wanted}", self.who), || {
            let seen = match what {
                "state" => {
                    let format = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}";
                    (self.run)(&["service", "inspect", name, "--format", format]).out
                }
                _ => self.rows(name).join("\n"),
            };
            let count = |ends: &[&str]| {
                let is_one = |row: &&str| ends.iter().any(|end| row.contains(end));
                seen.lines().filter(is_one).count().to_string()
            };
            let holds = match what {
                "state" => seen.trim() == wanted,
                "told" => seen.contains(wanted),
                "running" => count(&[" Running Running "]) == wanted,
                "ended" => count(&[" Complete ", " Failed ", " Rejected ", " Shutdown Shutdown "]) == wanted,
                other => panic!("no step is called {other}"),
            };
            if holds { Ok(()) } else { Err(seen) }
        });
    }

    /// Name, image, desired state, state, error of each task.
    fn rows(&self, name: &str) -> Vec<String> {
        let format = "{{.Name}}|{{.Image}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}}";
        let said = (self.run)(&["service", "ps", "--no-trunc", name, "--format", format]).expect();
        let row = |line: &str| {
            let mut columns: Vec<&str> = line.split('|').collect();
            // Which slot, or node, it is of, is chance.
            columns[0] = name;
            columns[3] = columns[3].split(' ').next().unwrap_or_default();
            columns.join(" ")
        };
        said.lines().map(row).collect()
    }

    /// What there is to see of a service at its end.
    fn left(&self, name: &str) -> Vec<String> {
        let mut left = self.rows(name);
        left.sort();
        let format = "{{if .UpdateStatus}}{{.UpdateStatus.State}}: {{.UpdateStatus.Message}}{{end}}";
        let update = (self.run)(&["service", "inspect", name, "--format", format]).expect();
        let even = |word: &str| if word.len() == 25 { "ID".to_owned() } else { word.to_owned() };
        left.push(format!("update {}", update.split(' ').map(even).collect::<Vec<_>>().join(" ")));
        let filter = format!("name={name}");
        left.push(
            (self.run)(&["service", "ls", "--filter", &filter, "--format", "{{.Name}} {{.Mode}} {{.Replicas}}"])
                .expect(),
        );
        left
    }
}

/// Words of a line; what stands in quotes is one.
fn words(line: &str) -> Vec<String> {
    let part = |(number, part): (usize, &str)| match number % 2 {
        1 => vec![part.to_owned()],
        _ => part.split_whitespace().map(str::to_owned).collect(),
    };
    line.split('\'').enumerate().flat_map(part).collect()
}
