//! Waiting for a service to become what was asked for, as docker shows it: lines that change in a terminal, plain
//! lines elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::fetch;
use crate::api::Filters;
use crate::context::Context;
use crate::failure::Failure;
use crate::human::short_id;
use crate::value::Value;

const POLL: Duration = Duration::from_millis(200);
/// How long tasks must run before they count as stable, unless the service says otherwise.
const DEFAULT_MONITOR: Duration = Duration::from_secs(5);
/// More tasks than this are shown by their number alone.
const MAX_BARS: usize = 20;
const MAX_ERROR_CHARACTERS: usize = 75;
const BAR_CELLS: usize = 50;
const STATES: [&str; 13] = [
    "new",
    "allocated",
    "pending",
    "assigned",
    "accepted",
    "preparing",
    "ready",
    "starting",
    "running",
    "complete",
    "shutdown",
    "failed",
    "rejected",
];
const RUNNING: usize = 9;
const COMPLETE: usize = 10;
const WIDEST_STATE: usize = 9;

/// Follows a service until it has converged and stayed so, or failed to.
pub async fn follow(context: &Context, service: &str, quiet: bool) -> Result<(), Failure> {
    let mut screen = Screen { context, quiet, terminal: std::io::stdout().is_terminal(), lines: Vec::new() };
    let mut convergence = Convergence { done: false, slots: BTreeMap::new(), started: false };
    let mut converged_at: Option<Instant> = None;
    let (mut rolling_back, mut last_words) = (false, String::new());
    loop {
        let found = fetch(context, service).await?;
        let monitor = u64::try_from(found.int("Spec.UpdateConfig.Monitor")).ok().filter(|nanos| *nanos > 0);
        let monitor = monitor.map_or(DEFAULT_MONITOR, Duration::from_nanos);
        let words = found.text("UpdateStatus.Message");
        match found.text("UpdateStatus.State") {
            "updating" => rolling_back = false,
            "completed" if converged_at.is_none() => return Ok(()),
            "paused" => return Err(Failure::new(format!("service update paused: {words}"))),
            "rollback_started" => {
                if !rolling_back && !words.is_empty() {
                    screen.say("rollback", words)?;
                }
                rolling_back = true;
            }
            "rollback_paused" => return Err(Failure::new(format!("service rollback paused: {words}"))),
            "rollback_completed" => {
                rolling_back = true;
                if converged_at.is_none() {
                    words.clone_into(&mut last_words);
                }
            }
            _ => {}
        }
        if converged_at.is_some_and(|at| at.elapsed() >= monitor) {
            screen.say("verify", &format!("Service {service} converged"))?;
            return if last_words.is_empty() { Ok(()) } else { screen.say("rollback", &last_words) };
        }
        let mut filters = Filters::default();
        filters.add("service", found.text("ID"));
        filters.add("_up-to-date", "true");
        let tasks = context.client.get("/tasks", &filters.query()).await?;
        let nodes = context.client.get("/nodes", &[]).await?;
        let up = nodes.list_itself().iter().filter(|node| node.text("Status.State") != "down");
        let up: BTreeSet<&str> = up.map(|node| node.text("ID")).collect();
        if convergence.update(&mut screen, &found, tasks.list_itself(), &up, rolling_back)? {
            if found.has("JobStatus") {
                return screen.say("", "job complete");
            }
            let wait = monitor.saturating_sub(converged_at.get_or_insert_with(Instant::now).elapsed());
            screen
                .say("verify", &format!("Waiting {} seconds to verify that tasks are stable...", wait.as_secs() + 1))?;
        } else if converged_at.take().is_some() {
            screen.say("verify", "Detected task failure")?;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                if converged_at.is_none() {
                    screen.say("", "Operation continuing in background.")?;
                    screen.say("", &format!("Use `docker service ps {service}` to check progress."))?;
                }
                return Ok(());
            }
        }
    }
}

fn rank(state: &str) -> usize {
    STATES.iter().position(|known| *known == state).map_or(0, |position| position + 1)
}

/// What was seen of the tasks so far.
struct Convergence {
    done: bool,
    started: bool,
    /// Slots (or nodes) in the order of their first sight, from 1.
    slots: BTreeMap<String, usize>,
}

impl Convergence {
    /// Shows where the tasks stand; true when all that are wanted run (or have completed).
    fn update(
        &mut self,
        screen: &mut Screen<'_>,
        service: &Value,
        tasks: &[Value],
        up: &BTreeSet<&str>,
        rolling_back: bool,
    ) -> Result<bool, Failure> {
        let mode = service.at("Spec.Mode");
        let is_job = mode.has("ReplicatedJob") || mode.has("GlobalJob");
        let per_node = mode.has("Global") || mode.has("GlobalJob");
        let current = newest(tasks, per_node, up);
        let wanted = if mode.has("Replicated") {
            usize::try_from(mode.uint("Replicated.Replicas")).unwrap_or(usize::MAX)
        } else if mode.has("ReplicatedJob") {
            usize::try_from(mode.uint("ReplicatedJob.TotalCompletions")).unwrap_or(usize::MAX)
        } else {
            current.len()
        };
        if per_node && current.is_empty() && !self.started {
            screen.say("overall progress", "waiting for new tasks")?;
            return Ok(false);
        }
        if !self.started {
            self.started = true;
            screen.say("overall progress", &overall(0, wanted, rolling_back))?;
            if !per_node && wanted <= MAX_BARS {
                (1..=wanted).try_for_each(|slot| screen.say(&format!("{slot}/{wanted}"), " "))?;
            }
        }
        let finished = |task: &Value| match is_job {
            true => task.text("Status.State") == "complete",
            false => rank(task.text("DesiredState")) <= RUNNING && task.text("Status.State") == "running",
        };
        if self.done && current.values().any(|task| !finished(task)) {
            self.done = false;
        }
        let mut count = 0;
        for (slot, task) in &current {
            if per_node && !up.contains(task.text("NodeID")) {
                continue;
            }
            count += usize::from(finished(task));
            let next = self.slots.len() + 1;
            let place = *self.slots.entry(slot.clone()).or_insert(next);
            let id = if per_node { short_id(task.text("NodeID")).to_owned() } else { format!("{place}/{wanted}") };
            if !self.done && wanted <= MAX_BARS && (per_node || place <= wanted) {
                screen.task(&id, task, is_job)?;
            }
        }
        if !self.done {
            screen.say("overall progress", &overall(count, wanted, rolling_back))?;
            self.done = count == wanted;
        }
        Ok(count == wanted)
    }
}

fn overall(count: usize, wanted: usize, rolling_back: bool) -> String {
    let prefix = if rolling_back { "rolling back update: " } else { "" };
    format!("{prefix}{count} out of {wanted} tasks")
}

/// One task a slot (or node): the one that is wanted longest, then the one that got least far.
fn newest<'a>(tasks: &'a [Value], per_node: bool, up: &BTreeSet<&str>) -> BTreeMap<String, &'a Value> {
    let mut current: BTreeMap<String, &Value> = BTreeMap::new();
    for task in tasks {
        let ranks = |task: &Value| (rank(task.text("DesiredState")), rank(task.text("Status.State")));
        let (desired, state) = ranks(task);
        let node = task.text("NodeID");
        let gone = !per_node && !node.is_empty() && !up.contains(node);
        if desired == 0 || state == 0 || gone {
            continue;
        }
        let slot = if per_node { node.to_owned() } else { format!("{:010}", task.uint("Slot")) };
        match current.get(&slot) {
            Some(known) if ranks(known) <= (desired, state) => {}
            _ => {
                current.insert(slot, task);
            }
        }
    }
    current
}

/// Lines by id. A terminal shows each once and in place; elsewhere a line is written when it changes.
struct Screen<'a> {
    context: &'a Context,
    quiet: bool,
    terminal: bool,
    lines: Vec<(String, String)>,
}

impl Screen<'_> {
    fn say(&mut self, id: &str, text: &str) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        let line = if id.is_empty() { text.to_owned() } else { format!("{id}: {text}") };
        let known = self.lines.iter().position(|(known, _)| known == id && !id.is_empty());
        match known {
            Some(place) if self.lines[place].1 == line => return Ok(()),
            Some(place) => {
                self.lines[place].1.clone_from(&line);
                if self.terminal {
                    let up = self.lines.len() - place;
                    return self.context.write(format!("\x1b[{up}A\x1b[2K\r{line}\r\x1b[{up}B"));
                }
            }
            None => self.lines.push((id.to_owned(), line.clone())),
        }
        self.context.line(line)
    }

    fn task(&mut self, id: &str, task: &Value, is_job: bool) -> Result<(), Failure> {
        let error = task.text("Status.Err").replace('\n', " ");
        if !error.is_empty() {
            return self.say(id, &crate::human::ellipsis(&error, MAX_ERROR_CHARACTERS));
        }
        let (state, last) = (rank(task.text("Status.State")), if is_job { COMPLETE } else { RUNNING });
        if !self.terminal || state > last || rank(task.text("DesiredState")) > last {
            return Ok(());
        }
        let filled = state * BAR_CELLS / last;
        let bar = format!("[{}>{}]", "=".repeat(filled), " ".repeat(BAR_CELLS - filled));
        self.say(id, &format!("{:<WIDEST_STATE$} {bar}", task.text("Status.State")))
    }
}
