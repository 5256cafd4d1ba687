//! One simulated worker: a member like any other, with a certificate of its own and a session over mutual TLS, whose
//! containers exist in its reports only.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use skep_model::WallTime;
use skep_model::pb::messages::assignment::Item;
use skep_model::pb::messages::assignment_change::AssignmentAction;
use skep_model::pb::messages::update_task_status_request::TaskStatusUpdate;
use skep_model::pb::messages::{self as m, AssignmentsMessage};
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{EngineDescription, NodeDescription, Platform, Resources, TaskState, TaskStatus};
use skep_model::{Refusal, Verbatim};
use skep_rpc::client::request_certificate;
use skep_rpc::{Clients, Credentials, DispatcherClient, Incoming, PrivateKey, Trust, TrustRoot};
use tokio::sync::watch;

/// Engines of simulated workers carry this label, so that the measured service goes to no others.
pub const LABEL: &str = "skep.bench";
/// A session that failed is begun again after this long.
const PAUSE: Duration = Duration::from_secs(1);
/// What a simulated worker has.
const NANO_CPUS: i64 = 8_000_000_000;
const MEMORY_BYTES: i64 = 16 << 30;

/// One worker.
pub struct Agent {
    number: usize,
    manager: String,
    clients: std::sync::Arc<Clients>,
    node_id: String,
}

impl Agent {
    /// Becomes a member.
    pub async fn join(number: usize, manager: &str, token: &str, root: &TrustRoot) -> anyhow::Result<Self> {
        let trust = Trust::Newcomer(root.clone());
        let key = PrivateKey::generate()?;
        let identity = request_certificate(manager, trust, root, Some(token), key, Availability::Active)
            .await
            .with_context(|| format!("agent {number} cannot join"))?;
        let node_id = identity.membership().node.to_string();
        let clients = Clients::new(Credentials::new(identity)?);
        Ok(Self { number, manager: manager.to_owned(), clients, node_id })
    }

    /// The id of its node.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// Keeps a session for as long as it is polled; tells whether there is one.
    pub async fn serve(self, registered: watch::Sender<bool>) {
        loop {
            let Err(refusal) = self.session(&registered).await;
            registered.send_replace(false);
            eprintln!("  agent {}: {refusal}", self.number);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn session(&self, registered: &watch::Sender<bool>) -> Result<std::convert::Infallible, Refusal> {
        let client = self.clients.dispatcher(&self.manager)?;
        let request = m::SessionRequest { description: Some(self.description()), session_id: String::new() };
        let (first, session) = client.session(request).await?;
        let request = m::AssignmentsRequest { session_id: first.session_id.clone() };
        let assignments = client.assignments(request).await?;
        registered.send_replace(true);
        tokio::try_join!(
            beat(&client, &first.session_id),
            listen(session),
            run_tasks(&client, &first.session_id, assignments)
        )
        .map(|(never, ..)| never)
    }

    fn description(&self) -> Verbatim<NodeDescription> {
        Verbatim::new(NodeDescription {
            hostname: format!("agent-{}", self.number),
            platform: Some(Platform { architecture: std::env::consts::ARCH.to_owned(), os: "linux".to_owned() }),
            resources: Some(Resources { nano_cpus: NANO_CPUS, memory_bytes: MEMORY_BYTES, generic: Vec::new() }),
            engine: Some(EngineDescription {
                engine_version: env!("CARGO_PKG_VERSION").to_owned(),
                labels: [(LABEL.to_owned(), "agent".to_owned())].into(),
                ..Default::default()
            }),
            ..Default::default()
        })
    }
}

async fn beat(client: &DispatcherClient, session_id: &str) -> Result<std::convert::Infallible, Refusal> {
    loop {
        let period = client.heartbeat(m::HeartbeatRequest { session_id: session_id.to_owned() }).await?;
        tokio::time::sleep(period).await;
    }
}

/// What a session says of managers and keys does not matter here, but must be taken.
async fn listen(mut session: Incoming<m::SessionMessage>) -> Result<std::convert::Infallible, Refusal> {
    loop {
        session.next().await.ok_or_else(ended)??;
    }
}

/// Says of every task at once that it has come to where it shall be.
async fn run_tasks(
    client: &DispatcherClient,
    session_id: &str,
    mut assignments: Incoming<AssignmentsMessage>,
) -> Result<std::convert::Infallible, Refusal> {
    loop {
        let updates = reports(assignments.next().await.ok_or_else(ended)??);
        if !updates.is_empty() {
            let request = m::UpdateTaskStatusRequest { session_id: session_id.to_owned(), updates };
            client.update_task_status(request).await?;
        }
    }
}

fn reports(message: AssignmentsMessage) -> Vec<TaskStatusUpdate> {
    let wanted = message.changes.into_iter().filter(|change| change.action() == AssignmentAction::Update);
    let tasks = wanted.filter_map(|change| match change.assignment.and_then(|assignment| assignment.item) {
        Some(Item::Task(task)) => Some(task.value),
        _ => None,
    });
    let report = |state: TaskState, message: &str| TaskStatus {
        state: state.into(),
        timestamp: Some(now().into()),
        message: message.to_owned(),
        ..Default::default()
    };
    tasks
        .map(|task| TaskStatusUpdate {
            status: Some(if task.desired_state() <= TaskState::Running {
                report(TaskState::Running, "started")
            } else {
                report(TaskState::Shutdown, "shutdown")
            }),
            task_id: task.id,
        })
        .collect()
}

/// The wall clock.
pub fn now() -> WallTime {
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX))
}

fn ended() -> Refusal {
    Refusal::new(skep_model::Code::Unavailable, "the manager ended the stream")
}
