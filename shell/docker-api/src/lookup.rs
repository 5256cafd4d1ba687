//! From what a user wrote to one object: exact id, then exact name, then prefix of an id (interop §9.4).

use skep_model::pb::messages as m;
use skep_model::pb::objects as pb;
use skep_model::{Code, Kept, Refusal};

use crate::api::Api;
use crate::status::Failure;

/// Declares a lookup.
macro_rules! lookup {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $object:ident, $get:ident { $id:ident } -> $one:ident,
     $list:ident, $filters:ident -> $many:ident) => {
        $(#[$doc])*
        // Some of the requests have further fields, some have not.
        #[allow(clippy::needless_update)]
        pub(crate) async fn $name(api: &Api, input: &str) -> Result<(Kept<pb::$object>, bool), Failure> {
            let missing = || Failure::not_found(format!("{} {input} not found", $kind));
            match api.read(m::$get { $id: input.to_owned(), ..Default::default() }).await {
                Ok((response, stale)) => return Ok((response.$one.ok_or_else(missing)?, stale)),
                Err(refusal) if matches!(refusal.code, Code::NotFound | Code::InvalidArgument) => {}
                // Without a leader nothing is said to be missing: it may have that name, too.
                Err(refusal) if refusal == Refusal::no_leader() => {}
                Err(refusal) => return Err(refusal.into()),
            }
            let mut unsure = false;
            let by_name = m::$filters::Filters { names: vec![input.to_owned()], ..Default::default() };
            let by_prefix = m::$filters::Filters { id_prefixes: vec![input.to_owned()], ..Default::default() };
            for filters in [by_name, by_prefix] {
                let request = m::$list { filters: Some(filters), ..Default::default() };
                let (response, stale) = api.read(request).await?;
                unsure |= stale;
                let mut found = response.$many;
                if found.len() > 1 {
                    return Err(Failure::bad_request(format!(
                        "{} {input} is ambiguous ({} matches found)", $kind, found.len()
                    )));
                }
                if let Some(object) = found.pop() {
                    return Ok((object, stale));
                }
            }
            if unsure { Err(Refusal::no_leader().into()) } else { Err(missing()) }
        }
    };
}

lookup!(
    /// A node, by id, hostname or prefix.
    node, "node", Node, GetNodeRequest { node_id } -> node, ListNodesRequest, list_nodes_request -> nodes
);
lookup!(
    /// A service.
    service, "service", Service, GetServiceRequest { service_id } -> service,
    ListServicesRequest, list_services_request -> services
);
lookup!(
    /// A task.
    task, "task", Task, GetTaskRequest { task_id } -> task, ListTasksRequest, list_tasks_request -> tasks
);
lookup!(
    /// A secret.
    secret, "secret", Secret, GetSecretRequest { secret_id } -> secret,
    ListSecretsRequest, list_secrets_request -> secrets
);
lookup!(
    /// A config.
    config, "config", Config, GetConfigRequest { config_id } -> config,
    ListConfigsRequest, list_configs_request -> configs
);
lookup!(
    /// A network of the swarm.
    network, "network", Network, GetNetworkRequest { network_id } -> network,
    ListNetworksRequest, list_networks_request -> networks
);
