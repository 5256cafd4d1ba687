//! A pretended cluster: objects in lists, no rules but names, ids and versions.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use skep_docker_api::limits::TASKS_AT_ONCE;
use skep_docker_api::{Answered, Control, SwarmEvent, TaskList, TaskPart, Tasks, tasks_by_message};
use skep_model::pb::messages as m;
use skep_model::pb::objects as pb;
use skep_model::pb::types;
use skep_model::{Code, ControlRequest, ControlResponse, Kept, Refusal, Task};
use tokio::sync::mpsc;

#[derive(Default)]
pub struct State {
    pub services: Vec<Kept<pb::Service>>,
    pub tasks: Vec<Kept<pb::Task>>,
    /// Tasks of the manager's own store, in the place of `tasks` where there are any.
    pub stored: Vec<Arc<Task>>,
    /// Their list is broken off before its last part.
    pub breaks_off: bool,
    pub nodes: Vec<Kept<pb::Node>>,
    pub networks: Vec<Kept<pb::Network>>,
    pub clusters: Vec<Kept<pb::Cluster>>,
    pub secrets: Vec<Kept<pb::Secret>>,
    pub requests: Vec<ControlRequest>,
    pub logs: Vec<m::SubscribeLogsMessage>,
    pub log_request: Option<m::SubscribeLogsRequest>,
    pub watchers: Vec<mpsc::Sender<SwarmEvent>>,
    pub leaderless: bool,
}

#[derive(Default)]
pub struct FakeControl(pub Mutex<State>);

fn starts(id: &str, prefixes: &[String]) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| id.starts_with(prefix))
}

fn named(name: &str, names: &[String], prefixes: &[String]) -> bool {
    (names.is_empty() || names.iter().any(|one| one == name)) && starts(name, prefixes)
}

fn name(annotations: Option<&types::Annotations>) -> &str {
    annotations.map_or("", |annotations| &annotations.name)
}

pub fn service_name(service: &pb::Service) -> &str {
    name(service.spec.as_ref().and_then(|spec| spec.annotations.as_ref()))
}

fn hostname(node: &pb::Node) -> &str {
    node.description.as_ref().map_or("", |description| &description.hostname)
}

/// `Get…`: by exact id only.
macro_rules! get {
    ($list:expr, $id:expr, $kind:literal, $method:ident, $response:ident, $one:ident) => {{
        let found = $list.iter().find(|object| object.value.id == $id).cloned();
        let object = found.ok_or_else(|| Refusal::not_found($kind, &$id))?;
        Ok(ControlResponse::$method(m::$response { $one: Some(object) }))
    }};
}

/// `List…`: by names and ids.
macro_rules! list {
    ($list:expr, $filters:expr, $name:expr, $method:ident, $response:ident, $many:ident) => {{
        let filters = $filters.unwrap_or_default();
        let keep = |name: &str, id: &str| {
            named(name, &filters.names, &filters.name_prefixes) && starts(id, &filters.id_prefixes)
        };
        let found = $list.iter().filter(|object| keep($name(&object.value), &object.value.id)).cloned().collect();
        Ok(ControlResponse::$method(m::$response { $many: found }))
    }};
}

impl FakeControl {
    fn answer(state: &mut State, request: ControlRequest) -> Result<ControlResponse, Refusal> {
        if state.leaderless && request.kind() == skep_model::ControlKind::Write {
            return Err(Refusal::no_leader());
        }
        match request {
            ControlRequest::GetService(r) => {
                get!(state.services, r.service_id, "service", GetService, GetServiceResponse, service)
            }
            ControlRequest::GetNode(r) => get!(state.nodes, r.node_id, "node", GetNode, GetNodeResponse, node),
            ControlRequest::GetTask(r) => get!(state.tasks, r.task_id, "task", GetTask, GetTaskResponse, task),
            ControlRequest::GetNetwork(r) => {
                get!(state.networks, r.network_id, "network", GetNetwork, GetNetworkResponse, network)
            }
            ControlRequest::GetSecret(r) => {
                get!(state.secrets, r.secret_id, "secret", GetSecret, GetSecretResponse, secret)
            }
            ControlRequest::ListServices(r) => {
                list!(state.services, r.filters, service_name, ListServices, ListServicesResponse, services)
            }
            ControlRequest::ListNodes(r) => {
                list!(state.nodes, r.filters, hostname, ListNodes, ListNodesResponse, nodes)
            }
            ControlRequest::ListNetworks(r) => {
                let name = |network: &pb::Network| {
                    name(network.spec.as_ref().and_then(|spec| spec.annotations.as_ref())).to_owned()
                };
                let filters = r.filters.unwrap_or_default();
                let keep = |network: &Kept<pb::Network>| {
                    named(&name(&network.value), &filters.names, &filters.name_prefixes)
                        && starts(&network.value.id, &filters.id_prefixes)
                };
                let networks = state.networks.iter().filter(|network| keep(network)).cloned().collect();
                Ok(ControlResponse::ListNetworks(m::ListNetworksResponse { networks }))
            }
            ControlRequest::ListSecrets(r) => {
                let name = |secret: &pb::Secret| -> &'static str { if secret.id.is_empty() { "" } else { "key" } };
                list!(state.secrets, r.filters, name, ListSecrets, ListSecretsResponse, secrets)
            }
            ControlRequest::ListTasks(r) => {
                let filters = r.filters.unwrap_or_default();
                let keep = |task: &pb::Task| {
                    (filters.service_ids.is_empty() || filters.service_ids.contains(&task.service_id))
                        && (filters.node_ids.is_empty() || filters.node_ids.contains(&task.node_id))
                        && filters.names.is_empty()
                        && starts(&task.id, &filters.id_prefixes)
                };
                let tasks = state.tasks.iter().filter(|task| keep(&task.value)).cloned().collect();
                Ok(ControlResponse::ListTasks(m::ListTasksResponse { tasks }))
            }
            ControlRequest::ListClusters(_) => {
                Ok(ControlResponse::ListClusters(m::ListClustersResponse { clusters: state.clusters.clone() }))
            }
            ControlRequest::ListServiceStatuses(r) => {
                let status = |id: String| m::list_service_statuses_response::ServiceStatus {
                    service_id: id,
                    desired_tasks: 3,
                    running_tasks: 2,
                    completed_tasks: 0,
                };
                let statuses = r.services.into_iter().map(status).collect();
                Ok(ControlResponse::ListServiceStatuses(m::ListServiceStatusesResponse { statuses }))
            }
            other => Self::change(state, other),
        }
    }

    fn change(state: &mut State, request: ControlRequest) -> Result<ControlResponse, Refusal> {
        match request {
            ControlRequest::CreateService(r) => {
                let service = pb::Service {
                    id: format!("service{:018}", state.services.len()),
                    meta: Some(meta(10 + state.services.len() as u64)),
                    spec: r.spec,
                    ..Default::default()
                };
                let taken = state.services.iter().any(|one| service_name(&one.value) == service_name(&service));
                if taken {
                    let text = format!(
                        "name conflicts with an existing object: service {} already exists",
                        service_name(&service)
                    );
                    return Err(Refusal::new(Code::AlreadyExists, text));
                }
                let service = Kept::new(service);
                state.services.push(service.clone());
                Ok(ControlResponse::CreateService(m::CreateServiceResponse { service: Some(service) }))
            }
            ControlRequest::UpdateService(r) => {
                let service = state
                    .services
                    .iter_mut()
                    .find(|one| one.value.id == r.service_id)
                    .ok_or_else(|| Refusal::not_found("service", &r.service_id))?;
                let version = service.value.meta.as_ref().and_then(|meta| meta.version);
                if version != r.service_version {
                    return Err(Refusal::out_of_sequence());
                }
                service.value.previous_spec = service.value.spec.take();
                service.value.spec = r.spec;
                service.value.meta = Some(meta(version.map_or(0, |version| version.index) + 1));
                Ok(ControlResponse::UpdateService(m::UpdateServiceResponse { service: Some(service.clone()) }))
            }
            ControlRequest::RemoveService(r) => {
                state.services.retain(|one| one.value.id != r.service_id);
                Ok(ControlResponse::RemoveService(m::RemoveServiceResponse {}))
            }
            ControlRequest::CreateSecret(r) => {
                let secret = Kept::new(pb::Secret {
                    id: format!("secret{:019}", state.secrets.len()),
                    meta: Some(meta(7)),
                    spec: r.spec,
                    internal: false,
                });
                state.secrets.push(secret.clone());
                Ok(ControlResponse::CreateSecret(m::CreateSecretResponse { secret: Some(secret) }))
            }
            ControlRequest::CreateNetwork(r) => {
                let network = Kept::new(pb::Network {
                    id: format!("network{:018}", state.networks.len()),
                    meta: Some(meta(8)),
                    spec: r.spec,
                    ..Default::default()
                });
                state.networks.push(network.clone());
                Ok(ControlResponse::CreateNetwork(m::CreateNetworkResponse { network: Some(network) }))
            }
            ControlRequest::UpdateCluster(_) => {
                let cluster = state.clusters.first().cloned();
                Ok(ControlResponse::UpdateCluster(m::UpdateClusterResponse { cluster }))
            }
            ControlRequest::UpdateNode(_) => {
                let node = state.nodes.first().cloned();
                Ok(ControlResponse::UpdateNode(m::UpdateNodeResponse { node }))
            }
            other => Err(Refusal::new(Code::Unimplemented, format!("the test has no {}", other.method()))),
        }
    }
}

/// Version and stamps: created at 1.5 s, updated at 2 s after 1970.
pub fn meta(index: u64) -> pb::Meta {
    let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    pb::Meta { version: Some(types::Version { index }), created_at: at(1, 500_000_000), updated_at: at(2, 0) }
}

/// Tasks of a further part of a list, unlike those that are written at once.
const PART: usize = 300;

/// The first tasks at once, the others when they are read.
fn in_parts(mut tasks: Vec<Arc<Task>>, ends: bool) -> Tasks {
    let (sender, others) = mpsc::channel(1);
    let mut rest = tasks.split_off(tasks.len().min(TASKS_AT_ONCE));
    let first = TaskPart { tasks, is_last: rest.is_empty() };
    tokio::spawn(async move {
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(PART));
            let part = TaskPart { tasks: std::mem::replace(&mut rest, later), is_last: false };
            let part = TaskPart { is_last: rest.is_empty() && ends, ..part };
            if sender.send(part).await.is_err() {
                return;
            }
        }
    });
    Tasks::Stored { first, others }
}

#[async_trait]
impl Control for FakeControl {
    async fn control(&self, request: ControlRequest) -> Result<Answered, Refusal> {
        let mut state = self.0.lock().unwrap();
        state.requests.push(request.clone());
        let stale = state.leaderless;
        match Self::answer(&mut state, request) {
            // As a manager without a leader: it may exist all the same.
            Err(refusal) if stale && refusal.code == Code::NotFound => Err(Refusal::no_leader()),
            answer => answer.map(|response| Answered { response, stale }),
        }
    }

    async fn tasks(&self, filters: m::list_tasks_request::Filters) -> Result<TaskList, Refusal> {
        let (stored, breaks_off) = {
            let state = self.0.lock().unwrap();
            (state.stored.clone(), state.breaks_off)
        };
        match stored.is_empty() {
            true => tasks_by_message(self, filters).await,
            false => Ok(TaskList { tasks: in_parts(stored, !breaks_off), stale: false }),
        }
    }

    async fn watch(&self) -> Result<mpsc::Receiver<SwarmEvent>, Refusal> {
        let (sender, receiver) = mpsc::channel(16);
        self.0.lock().unwrap().watchers.push(sender);
        Ok(receiver)
    }

    async fn subscribe_logs(
        &self,
        request: m::SubscribeLogsRequest,
    ) -> Result<mpsc::Receiver<Result<m::SubscribeLogsMessage, Refusal>>, Refusal> {
        let (sender, receiver) = mpsc::channel(16);
        let mut state = self.0.lock().unwrap();
        let follow = request.options.as_ref().is_some_and(|options| options.follow);
        state.log_request = Some(request);
        let logs = state.logs.clone();
        tokio::spawn(async move {
            for message in logs {
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            if follow {
                sender.closed().await;
            } else {
                // The client may be gone already.
                let _ = sender.send(Err(Refusal::new(Code::Unavailable, "node x is gone"))).await;
            }
        });
        Ok(receiver)
    }
}
