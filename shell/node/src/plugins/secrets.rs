//! What a `secretprovider` takes and gives (source: SwarmKit's `manager/drivers`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skep_manager::{DriverFailure, SecretRequest, SecretValue};
use skep_model::pb::types::{EndpointSpec, PortConfig};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    secret_name: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secret_labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    service_hostname: &'a str,
    #[serde(rename = "ServiceID", skip_serializing_if = "str::is_empty")]
    service_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    service_name: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    service_labels: &'a BTreeMap<String, String>,
    #[serde(rename = "TaskID")]
    task_id: &'a str,
    task_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    task_image: &'a str,
    #[serde(rename = "NodeID", skip_serializing_if = "Option::is_none")]
    node_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_endpoint_spec: Option<Endpoint<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    mode: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<Port<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Port<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    protocol: i32,
    #[serde(skip_serializing_if = "is_none")]
    target_port: u32,
    #[serde(skip_serializing_if = "is_none")]
    published_port: u32,
    #[serde(skip_serializing_if = "is_zero")]
    publish_mode: i32,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

fn is_none(number: &u32) -> bool {
    *number == 0
}

impl<'a> From<&'a EndpointSpec> for Endpoint<'a> {
    fn from(spec: &'a EndpointSpec) -> Self {
        let port = |port: &'a PortConfig| Port {
            name: &port.name,
            protocol: port.protocol,
            target_port: port.target_port,
            published_port: port.published_port,
            publish_mode: port.publish_mode,
        };
        Self { mode: spec.mode, ports: spec.ports.iter().map(port).collect() }
    }
}

/// The question.
pub(super) fn body(request: &SecretRequest) -> Result<Vec<u8>, DriverFailure> {
    let body = Request {
        secret_name: &request.secret_name,
        secret_labels: &request.secret_labels,
        service_hostname: &request.service_hostname,
        service_id: &request.service_id,
        service_name: &request.service_name,
        service_labels: &request.service_labels,
        task_id: request.task_id.as_str(),
        task_name: &request.task_name,
        task_image: &request.task_image,
        node_id: request.node_id.as_ref().map(|node| node.as_str()),
        service_endpoint_spec: request.service_endpoint_spec.as_ref().map(Endpoint::from),
    };
    serde_json::to_vec(&body).map_err(|error| DriverFailure::Unreadable { reason: error.to_string() })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Response {
    value: Option<String>,
    err: Option<String>,
    do_not_reuse: bool,
}

/// The value in an answer.
pub(super) fn value(answer: &[u8]) -> Result<SecretValue, DriverFailure> {
    // What cannot be read is not repeated: it may be the secret.
    let unreadable = |reason: &str| DriverFailure::Unreadable { reason: reason.to_owned() };
    let response: Response =
        serde_json::from_slice(answer).map_err(|_| unreadable("it is not JSON with Value, Err and DoNotReuse"))?;
    if let Some(err) = response.err.filter(|err| !err.is_empty()) {
        return Err(super::said(&err));
    }
    let data = STANDARD.decode(response.value.unwrap_or_default()).map_err(|_| unreadable("Value is not base64"))?;
    Ok(SecretValue { data: Bytes::from(data), do_not_reuse: response.do_not_reuse })
}
