//! What users ask of the swarm, with the rules that span several objects.
//!
//! It must never know who carries a request here (HTTP or gRPC) or how an entry gets committed. Flow: a
//! `ControlRequest` → checks → changes in one [`Tx`] → the answer, which holds once the transaction is committed.
//! One file per kind of object, `validate` for what a spec alone can tell. Start reading at `service`.

mod cluster;
mod config;
mod context;
mod dependency;
mod engine;
mod extension;
mod lookup;
mod network;
mod node;
mod ports;
mod references;
mod resource;
mod secret;
mod service;
mod service_read;
mod task;
mod task_list;
mod validate;
mod volume;

#[cfg(test)]
mod tests;

pub use cluster::check_cluster;
pub use context::{CommandContext, MemberView};
pub use engine::{check_docker_manager, is_skep};
pub use task_list::TaskList;

use skep_model::{Code, ControlKind, ControlRequest, ControlResponse, Refusal};

use crate::read::Find;
use crate::tx::Tx;

/// Carries out a request. The answer to one that changes something holds once the transaction is committed.
pub fn execute(tx: &mut Tx, context: &mut CommandContext, request: ControlRequest) -> Result<ControlResponse, Refusal> {
    use ControlRequest as R;
    Ok(match request {
        R::UpdateNode(request) => node::update(tx, context, request)?.into(),
        R::RemoveNode(request) => node::remove(tx, context, request)?.into(),
        R::RemoveTask(request) => task::remove(tx, request)?.into(),
        R::CreateService(request) => service::create(tx, context, request)?.into(),
        R::UpdateService(request) => service::update(tx, context, request)?.into(),
        R::RemoveService(request) => service::remove(tx, request)?.into(),
        R::CreateNetwork(request) => network::create(tx, context, request)?.into(),
        R::RemoveNetwork(request) => network::remove(tx, request)?.into(),
        R::UpdateCluster(request) => cluster::update(tx, context, request)?.into(),
        R::CreateSecret(request) => secret::create(tx, context, request)?.into(),
        R::UpdateSecret(request) => secret::update(tx, context, request)?.into(),
        R::RemoveSecret(request) => secret::remove(tx, request)?.into(),
        R::CreateConfig(request) => config::create(tx, context, request)?.into(),
        R::UpdateConfig(request) => config::update(tx, context, request)?.into(),
        R::RemoveConfig(request) => config::remove(tx, request)?.into(),
        R::CreateExtension(request) => extension::create(tx, context, request)?.into(),
        R::RemoveExtension(request) => extension::remove(tx, request)?.into(),
        R::CreateResource(request) => resource::create(tx, context, request)?.into(),
        R::UpdateResource(request) => resource::update(tx, request)?.into(),
        R::RemoveResource(request) => resource::remove(tx, request)?.into(),
        R::CreateVolume(_) | R::UpdateVolume(_) | R::RemoveVolume(_) => return Err(volume::not_available()),
        question => query(tx, context, question)?,
    })
}

/// Answers a request that only reads.
pub fn query<F: Find>(
    facts: &F,
    context: &CommandContext,
    request: ControlRequest,
) -> Result<ControlResponse, Refusal> {
    use ControlRequest as R;
    Ok(match request {
        R::GetNode(request) => node::get(facts, context, request)?.into(),
        R::ListNodes(request) => node::list(facts, context, request).into(),
        R::GetTask(request) => task::get(facts, request)?.into(),
        R::ListTasks(request) => task::list(facts, request).into(),
        R::GetService(request) => service_read::get(facts, request)?.into(),
        R::ListServices(request) => service_read::list(facts, request).into(),
        R::ListServiceStatuses(request) => service_read::statuses(facts, request).into(),
        R::GetNetwork(request) => network::get(facts, request)?.into(),
        R::ListNetworks(request) => network::list(facts, request).into(),
        R::GetCluster(request) => cluster::get(facts, request)?.into(),
        R::ListClusters(request) => cluster::list(facts, request).into(),
        R::GetSecret(request) => secret::get(facts, request)?.into(),
        R::ListSecrets(request) => secret::list(facts, request).into(),
        R::GetConfig(request) => config::get(facts, request)?.into(),
        R::ListConfigs(request) => config::list(facts, request).into(),
        R::GetExtension(request) => extension::get(facts, request)?.into(),
        R::GetResource(request) => resource::get(facts, request)?.into(),
        R::ListResources(request) => resource::list(facts, request).into(),
        R::GetVolume(request) => volume::get(facts, request)?.into(),
        R::ListVolumes(request) => volume::list(facts, request).into(),
        change => return Err(not_a_question(&change)),
    })
}

fn not_a_question(request: &ControlRequest) -> Refusal {
    debug_assert_eq!(request.kind(), ControlKind::Write, "{} has no answer", request.method());
    Refusal::new(Code::Internal, format!("{} changes the swarm and needs a transaction", request.method()))
}
