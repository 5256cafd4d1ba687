//! Nodes and their specs.

use skep_model::Refusal;
use skep_model::pb::objects as pb;
use skep_model::pb::types;

use super::{annotations, map, meta, resources, text, words};
use crate::json;

/// Outwards.
pub(crate) fn out(node: &pb::Node) -> json::Node<'_> {
    let (version, created_at, updated_at) = meta(node.meta.as_ref());
    let spec = node.spec.as_deref();
    let (name, labels) = annotations(spec.and_then(|spec| spec.annotations.as_ref()));
    json::Node {
        id: text(&node.id),
        version,
        created_at,
        updated_at,
        spec: json::NodeSpec {
            name,
            labels,
            role: text(words::word(spec.map(types::NodeSpec::desired_role).unwrap_or_default())),
            availability: text(words::word(spec.map(types::NodeSpec::availability).unwrap_or_default())),
        },
        description: node.description.as_deref().map(description_out).unwrap_or_default(),
        status: node.status.as_ref().map(status_out).unwrap_or_else(|| json::NodeStatus {
            state: text(words::word(types::node_status::State::Unknown)),
            ..Default::default()
        }),
        manager_status: node.manager_status.as_ref().map(|status| json::ManagerStatus {
            leader: status.leader,
            reachability: text(words::word(status.reachability())),
            addr: text(&status.addr),
        }),
    }
}

fn status_out(status: &types::NodeStatus) -> json::NodeStatus<'_> {
    json::NodeStatus {
        state: text(words::word(status.state())),
        message: text(&status.message),
        addr: text(&status.addr),
    }
}

fn description_out(description: &types::NodeDescription) -> json::NodeDescription<'_> {
    json::NodeDescription {
        hostname: text(&description.hostname),
        platform: description
            .platform
            .as_ref()
            .map(|platform| json::Platform { architecture: text(&platform.architecture), os: text(&platform.os) })
            .unwrap_or_default(),
        resources: description.resources.as_ref().map(resources::amounts).unwrap_or_default(),
        engine: description
            .engine
            .as_ref()
            .map(|engine| json::EngineDescription {
                version: text(&engine.engine_version),
                labels: map(&engine.labels),
                plugins: engine
                    .plugins
                    .iter()
                    .map(|plugin| json::PluginDescription { kind: text(&plugin.r#type), name: text(&plugin.name) })
                    .collect(),
            })
            .unwrap_or_default(),
        tls_info: description
            .tls_info
            .as_ref()
            .map(|info| json::TlsInfo {
                trust_root: String::from_utf8_lossy(&info.trust_root),
                issuer_subject: json::Base64(info.cert_issuer_subject.clone()),
                issuer_public_key: json::Base64(info.cert_issuer_public_key.clone()),
            })
            .unwrap_or_default(),
        csi_info: description
            .csi_info
            .iter()
            .map(|info| json::CsiInfo {
                plugin_name: text(&info.plugin_name),
                node_id: text(&info.node_id),
                max_volumes: info.max_volumes_per_node,
                topology: info
                    .accessible_topology
                    .as_ref()
                    .map(|topology| json::Topology { segments: map(&topology.segments) }),
            })
            .collect(),
    }
}

/// A node's spec, inwards. Membership is not the user's: it stays as it is.
pub(crate) fn spec_in(spec: json::NodeSpec<'_>, current: Option<&types::NodeSpec>) -> Result<types::NodeSpec, Refusal> {
    let role = words::parse::<types::NodeRole>(&spec.role)
        .ok_or_else(|| Refusal::invalid(format!("invalid Role: {:?}", spec.role)))?;
    let availability = words::parse::<types::node_spec::Availability>(&spec.availability)
        .ok_or_else(|| Refusal::invalid(format!("invalid Availability: {:?}", spec.availability)))?;
    Ok(types::NodeSpec {
        annotations: Some(types::Annotations {
            name: spec.name.into_owned(),
            labels: spec.labels.into_owned(),
            indices: Vec::new(),
        }),
        desired_role: role.into(),
        membership: current.map_or(0, |current| current.membership),
        availability: availability.into(),
    })
}
