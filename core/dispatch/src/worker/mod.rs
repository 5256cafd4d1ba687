//! The node's half: a session with some manager, and the machine that brings each assigned task through its life.
//!
//! It must never know what a container is, how a stream travels, or who the leader is. One method, [`Worker::step`]:
//! what happened comes in, what to do comes out. The [`agent`] holds the session; the [`machine`] speaks SwarmKit's
//! controller verbs (prepare, start, wait, …) to a controller behind the shell. Start reading at `input.rs` and
//! `effect.rs`, then `agent.rs`, `machine/life.rs`.

pub mod agent;
mod effect;
mod input;
mod machine;
mod remotes;

use bytes::Bytes;
use rand_core::RngCore;
use skep_model::pb::messages::assignments_message::Type;
use skep_model::pb::types::{NodeDescription, Peer};
use skep_model::{Now, Task, Time, Verbatim};

pub use effect::{Dependencies, Effect, Run, Verb};
pub use input::{Attempt, Fault, Input, Observed, Opening, Outcome, RunId};

use agent::{Agent, News};
use machine::TaskMachine;

/// What a worker starts with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Managers known from joining or from the last run.
    pub remotes: Vec<Peer>,
    /// What this node says of itself.
    pub description: Verbatim<NodeDescription>,
    /// The trust root on disk, as PEM.
    pub root: Bytes,
    /// Tasks as last persisted.
    pub tasks: Vec<Task>,
}

/// Agent and task machine, wired together.
#[derive(Debug)]
pub struct Worker {
    agent: Agent,
    machine: TaskMachine,
}

impl Worker {
    /// A worker that has done nothing yet; give it [`Input::Tick`] to start.
    pub fn new(start: Start) -> Self {
        Self { agent: Agent::new(start.remotes, start.description, start.root), machine: TaskMachine::new(start.tasks) }
    }

    /// Takes one input.
    pub fn step(&mut self, now: Now, rng: &mut dyn RngCore, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        if input == Input::Leave {
            self.machine.remove_all();
        }
        let input = match input {
            Input::VerbDone { task, run, outcome } => {
                self.machine.verb_done(now, &task, run, outcome);
                None
            }
            other => Some(other),
        };
        let news = match input {
            Some(input) => self.agent.step(now.monotonic, rng, input, &mut effects),
            None => Vec::new(),
        };
        for item in news {
            match item {
                News::Registered => self.machine.report_all(),
                News::Assignments(message) => match message.r#type() {
                    Type::Complete => self.machine.assign(now, message.changes, true),
                    Type::Incremental => self.machine.assign(now, message.changes, false),
                },
            }
        }
        self.machine.drive(now, &mut effects);
        for (task, status) in self.machine.take_reports() {
            self.agent.report(task, status);
        }
        self.agent.send_reports(now.monotonic, &mut effects);
        effects
    }

    /// When [`Input::Tick`] is wanted.
    pub fn wake_at(&self) -> Option<Time> {
        [self.agent.wake_at(), self.machine.wake_at()].into_iter().flatten().min()
    }

    /// The manager and session that we are registered with, to say farewell.
    pub fn session(&self) -> Option<(Attempt, &Peer, &str)> {
        self.agent.session()
    }

    /// The managers that we know.
    pub fn remotes(&self) -> Vec<Peer> {
        self.agent.remotes()
    }

    /// Every task on this node with its status, in id order.
    pub fn tasks(&self) -> impl Iterator<Item = &std::sync::Arc<Task>> {
        self.machine.tasks()
    }
}
