//! `/nodes`.

use http::StatusCode;
use skep_model::Verbatim;
use skep_model::pb::messages as m;
use skep_model::pb::types;

use crate::api::Api;
use crate::json::NodeSpec;
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::{convert, filters, lookup};

pub(crate) async fn list(api: &Api, request: Request) -> Answer {
    api.manager()?;
    let filters = filters::nodes(&request.query)?;
    let (response, stale) = api.read(m::ListNodesRequest { filters: Some(filters) }).await?;
    let nodes: Vec<_> = response.nodes.iter().map(|node| convert::node::out(&node.value)).collect();
    Ok(reply::stale(reply::json(StatusCode::OK, &nodes)?, stale))
}

pub(crate) async fn inspect(api: &Api, id: &str) -> Answer {
    api.manager()?;
    let (node, stale) = lookup::node(api, id).await?;
    Ok(reply::stale(reply::ok(&convert::node::out(&node.value))?, stale))
}

pub(crate) async fn update(api: &Api, mut request: Request, id: &str) -> Answer {
    api.manager()?;
    let spec: NodeSpec = request.json().await?;
    let version = request.query.version("node")?;
    let (node, _) = lookup::node(api, id).await?;
    let spec = convert::node::spec_in(spec, node.value.spec.as_deref())?;
    let update = m::UpdateNodeRequest {
        node_id: node.value.id,
        node_version: Some(types::Version { index: version }),
        spec: Some(Verbatim::new(spec)),
    };
    api.write(update).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn remove(api: &Api, request: Request, id: &str) -> Answer {
    api.manager()?;
    let (node, _) = lookup::node(api, id).await?;
    api.write(m::RemoveNodeRequest { node_id: node.value.id, force: request.query.flag("force") }).await?;
    Ok(reply::empty(StatusCode::OK))
}
