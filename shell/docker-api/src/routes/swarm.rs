//! `/swarm`: this node's membership and the cluster's settings.

use http::StatusCode;
use serde_json::json;
use skep_model::pb::messages as m;
use skep_model::pb::objects as pb;
use skep_model::pb::types;
use skep_model::{Kept, Verbatim};

use super::EventLog;
use crate::api::Api;
use crate::convert::{cluster, words};
use crate::json;
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;
use crate::swarm::{Availability, InitRequest, JoinRequest, LeaveRequest, Standing};

/// The one cluster; the flag says that it may be stale.
pub(crate) async fn the_cluster(api: &Api) -> Result<(Kept<pb::Cluster>, bool), Failure> {
    let (response, stale) = api.read(m::ListClustersRequest::default()).await?;
    let cluster = response
        .clusters
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm"))?;
    Ok((cluster, stale))
}

pub(crate) async fn inspect(api: &Api) -> Answer {
    api.manager()?;
    let (cluster, stale) = the_cluster(api).await?;
    Ok(reply::stale(reply::ok(&cluster::out(&cluster.value, true))?, stale))
}

fn availability(word: &str) -> Result<Availability, Failure> {
    if word.is_empty() {
        return Ok(Availability::Active);
    }
    words::parse(word).ok_or_else(|| Failure::bad_request(format!("invalid Availability: {word:?}")))
}

pub(crate) async fn init(api: &Api, mut request: Request) -> Answer {
    let init: json::InitRequest = request.json().await?;
    if init.listen_addr.is_empty() {
        return Err(Failure::bad_request("invalid ListenAddr \"\": invalid empty address"));
    }
    let ports_since = request.version.0 >= 40;
    let pools_since = request.version.0 >= 39;
    let init = InitRequest {
        availability: availability(&init.availability)?,
        settings: cluster::settings_in(init.spec)?,
        listen_addr: init.listen_addr,
        advertise_addr: init.advertise_addr,
        data_path_addr: init.data_path_addr,
        data_path_port: if ports_since { init.data_path_port } else { 0 },
        force_new_cluster: init.force_new_cluster,
        auto_lock_managers: init.auto_lock,
        default_addr_pool: if pools_since { init.address_pool } else { Vec::new() },
        subnet_size: if pools_since { init.subnet_size } else { 0 },
    };
    let node_id = api.swarm.init(init).await?;
    EventLog::opened(api).await;
    reply::ok(&node_id.as_str())
}

pub(crate) async fn join(api: &Api, mut request: Request) -> Answer {
    let join: json::JoinRequest = request.json().await?;
    if join.listen_addr.is_empty() {
        return Err(Failure::bad_request("invalid ListenAddr \"\": invalid empty address"));
    }
    if join.remote_addrs.is_empty() {
        return Err(Failure::bad_request("at least 1 RemoteAddr is required to join"));
    }
    if join.remote_addrs.iter().any(String::is_empty) {
        return Err(Failure::bad_request("invalid remoteAddr \"\": invalid empty address"));
    }
    let join = JoinRequest {
        availability: availability(&join.availability)?,
        listen_addr: join.listen_addr,
        advertise_addr: join.advertise_addr,
        data_path_addr: join.data_path_addr,
        remote_addrs: join.remote_addrs,
        join_token: join.join_token,
    };
    api.swarm.join(join).await?;
    EventLog::opened(api).await;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn leave(api: &Api, request: Request) -> Answer {
    let leave = LeaveRequest { force: request.query.flag("force"), remove: request.query.flag("remove") };
    api.swarm.leave(leave).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn update(api: &Api, mut request: Request) -> Answer {
    let spec: json::Spec = request.json().await?;
    let version = request.query.version("swarm")?;
    // Here Docker does not repeat the reason.
    let turned = |key: &str| {
        let bad = || Failure::bad_request(format!("invalid value for {key}: {}", request.query.get(key)));
        request.query.strict_flag(key).map_err(|_| bad())
    };
    let rotation = m::KeyRotation {
        worker_join_token: turned("rotateWorkerToken")?,
        manager_join_token: turned("rotateManagerToken")?,
        manager_unlock_key: turned("rotateManagerUnlockKey")?,
    };
    api.manager()?;
    let (cluster, _) = the_cluster(api).await?;
    // The client sends the whole spec: what it leaves out becomes the default.
    let mut wire = types::ClusterSpec::default();
    cluster::settings_in(spec)?.merge_into(&mut wire);
    let update = m::UpdateClusterRequest {
        cluster_id: cluster.value.id,
        cluster_version: Some(types::Version { index: version }),
        spec: Some(Verbatim::new(wire)),
        rotation: Some(rotation),
    };
    api.write(update).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn unlock_key(api: &Api) -> Answer {
    api.manager()?;
    let key = api.swarm.unlock_key().await?;
    reply::ok(&json!({ "UnlockKey": key }))
}

pub(crate) async fn unlock(api: &Api, mut request: Request) -> Answer {
    let unlock: json::UnlockKey = request.json().await?;
    match api.swarm.standing() {
        Standing::Inactive => api.manager()?,
        Standing::Locked => {}
        _ => return Err(Failure::new(StatusCode::CONFLICT, "swarm is not locked")),
    }
    api.swarm.unlock(unlock.key).await?;
    EventLog::opened(api).await;
    Ok(reply::empty(StatusCode::OK))
}
