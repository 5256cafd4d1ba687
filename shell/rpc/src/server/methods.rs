//! Who may call which method, and where it is answered (interop §2).

/// Who may call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Callers {
    /// Also a newcomer without a certificate.
    Anyone,
    /// Every node of the swarm.
    Nodes,
    /// Managers.
    Managers,
}

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The leader: a follower passes the call on.
    Leader,
    /// The manager that was asked, and only for a node whose role in the store is still manager.
    Here,
    /// The manager that was asked, whatever its store says of the caller: a store that lags behind must not keep out
    /// the messages that would bring it up to date. Raft's own membership decides.
    Raft,
}

/// What is known of a path; `None` for a method that does not exist here.
pub(super) fn method(path: &str) -> Option<(Callers, Place)> {
    use Callers::{Anyone, Managers, Nodes};
    use Place::{Here, Leader, Raft};
    let (package, method) = path.strip_prefix('/')?.split_once('/')?;
    let access = match (package.strip_prefix("docker.swarmkit.v1."), package.strip_prefix("skep.v1.")) {
        (Some(service), _) => match (service, method) {
            ("CA", "GetRootCACertificate") => (Anyone, Leader),
            ("CA", "GetUnlockKey") => (Managers, Leader),
            ("NodeCA", _) => (Anyone, Leader),
            ("Dispatcher" | "LogBroker" | "ResourceAllocator", _) => (Nodes, Leader),
            ("RaftMembership", _) => (Managers, Leader),
            ("Raft" | "Health", _) => (Managers, Raft),
            ("Control" | "Logs", _) => (Managers, Here),
            _ => return None,
        },
        (_, Some("Peer")) => match method {
            "Hello" => (Nodes, Raft),
            "RaftStream" | "Pace" => (Managers, Raft),
            "Leave" => (Nodes, Leader),
            "ConnectionClosed" | "ReadPoint" => (Managers, Here),
            _ => return None,
        },
        _ => return None,
    };
    Some(access)
}

/// Whether a method waits for a leader while there is none: a newcomer or a renewal that comes during a change of leader
/// would have to begin anew.
pub(super) fn waits_for_leader(path: &str) -> bool {
    path.starts_with("/docker.swarmkit.v1.CA/") || path.starts_with("/docker.swarmkit.v1.NodeCA/")
}

/// Whether a method answers only when its caller's stream of messages ends.
pub(super) fn is_upload(path: &str) -> bool {
    path.ends_with("/RaftStream") || path.ends_with("/PublishLogs")
}

/// Hands the method list of `Control` to another macro: `Name function Request Response;` each.
macro_rules! control_methods {
    ($then:ident) => {
        $then! {
            GetNode get_node GetNodeRequest GetNodeResponse;
            ListNodes list_nodes ListNodesRequest ListNodesResponse;
            UpdateNode update_node UpdateNodeRequest UpdateNodeResponse;
            RemoveNode remove_node RemoveNodeRequest RemoveNodeResponse;
            GetTask get_task GetTaskRequest GetTaskResponse;
            ListTasks list_tasks ListTasksRequest ListTasksResponse;
            RemoveTask remove_task RemoveTaskRequest RemoveTaskResponse;
            GetService get_service GetServiceRequest GetServiceResponse;
            ListServices list_services ListServicesRequest ListServicesResponse;
            CreateService create_service CreateServiceRequest CreateServiceResponse;
            UpdateService update_service UpdateServiceRequest UpdateServiceResponse;
            RemoveService remove_service RemoveServiceRequest RemoveServiceResponse;
            ListServiceStatuses list_service_statuses ListServiceStatusesRequest ListServiceStatusesResponse;
            GetNetwork get_network GetNetworkRequest GetNetworkResponse;
            ListNetworks list_networks ListNetworksRequest ListNetworksResponse;
            CreateNetwork create_network CreateNetworkRequest CreateNetworkResponse;
            RemoveNetwork remove_network RemoveNetworkRequest RemoveNetworkResponse;
            GetCluster get_cluster GetClusterRequest GetClusterResponse;
            ListClusters list_clusters ListClustersRequest ListClustersResponse;
            UpdateCluster update_cluster UpdateClusterRequest UpdateClusterResponse;
            GetSecret get_secret GetSecretRequest GetSecretResponse;
            UpdateSecret update_secret UpdateSecretRequest UpdateSecretResponse;
            ListSecrets list_secrets ListSecretsRequest ListSecretsResponse;
            CreateSecret create_secret CreateSecretRequest CreateSecretResponse;
            RemoveSecret remove_secret RemoveSecretRequest RemoveSecretResponse;
            GetConfig get_config GetConfigRequest GetConfigResponse;
            UpdateConfig update_config UpdateConfigRequest UpdateConfigResponse;
            ListConfigs list_configs ListConfigsRequest ListConfigsResponse;
            CreateConfig create_config CreateConfigRequest CreateConfigResponse;
            RemoveConfig remove_config RemoveConfigRequest RemoveConfigResponse;
            GetExtension get_extension GetExtensionRequest GetExtensionResponse;
            CreateExtension create_extension CreateExtensionRequest CreateExtensionResponse;
            RemoveExtension remove_extension RemoveExtensionRequest RemoveExtensionResponse;
            GetResource get_resource GetResourceRequest GetResourceResponse;
            UpdateResource update_resource UpdateResourceRequest UpdateResourceResponse;
            ListResources list_resources ListResourcesRequest ListResourcesResponse;
            CreateResource create_resource CreateResourceRequest CreateResourceResponse;
            RemoveResource remove_resource RemoveResourceRequest RemoveResourceResponse;
            CreateVolume create_volume CreateVolumeRequest CreateVolumeResponse;
            GetVolume get_volume GetVolumeRequest GetVolumeResponse;
            UpdateVolume update_volume UpdateVolumeRequest UpdateVolumeResponse;
            ListVolumes list_volumes ListVolumesRequest ListVolumesResponse;
            RemoveVolume remove_volume RemoveVolumeRequest RemoveVolumeResponse;
        }
    };
}
pub(crate) use control_methods;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_services_are_open_to_strangers() {
        assert_eq!(method("/docker.swarmkit.v1.CA/GetRootCACertificate"), Some((Callers::Anyone, Place::Leader)));
        assert_eq!(method("/docker.swarmkit.v1.CA/GetUnlockKey"), Some((Callers::Managers, Place::Leader)));
        assert_eq!(method("/docker.swarmkit.v1.Dispatcher/Session"), Some((Callers::Nodes, Place::Leader)));
        assert_eq!(method("/docker.swarmkit.v1.Control/CreateService"), Some((Callers::Managers, Place::Here)));
        assert_eq!(method("/docker.swarmkit.v1.Watch/Watch"), None);
        assert_eq!(method("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"), None);
        assert_eq!(method("nonsense"), None);
    }

    #[test]
    fn certificates_wait_for_a_leader() {
        assert!(waits_for_leader("/docker.swarmkit.v1.NodeCA/IssueNodeCertificate"));
        assert!(waits_for_leader("/docker.swarmkit.v1.CA/GetRootCACertificate"));
        assert!(!waits_for_leader("/docker.swarmkit.v1.Dispatcher/Session"));
    }
}
