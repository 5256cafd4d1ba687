//! SwarmKit's control vocabulary as one pair of enums: what users ask of the swarm and what they get.
//!
//! Shared by the HTTP API (which asks), the gRPC service (which carries) and the store's commands (which answer).

use crate::pb::messages as m;

macro_rules! vocabulary {
    ($($method:ident: $request:ident => $response:ident, $kind:ident;)*) => {
        /// A request of the `Control` service.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum ControlRequest { $($method(m::$request),)* }

        /// The answer to the request of the same name.
        #[derive(Clone, Debug, PartialEq)]
        // Answers are boxed where they wait and travel.
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum ControlResponse { $($method(m::$response),)* }

        /// Whether a request changes something.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ControlKind {
            /// Answered from the store.
            Read,
            /// Answered after it is committed.
            Write,
        }

        impl ControlRequest {
            /// The method's name on the wire.
            pub fn method(&self) -> &'static str {
                match self { $(Self::$method(_) => stringify!($method),)* }
            }

            /// Whether it changes something.
            pub fn kind(&self) -> ControlKind {
                match self { $(Self::$method(_) => ControlKind::$kind,)* }
            }
        }

        /// A request whose answer has one known type.
        pub trait ControlCall: Into<ControlRequest> {
            /// The type of its answer.
            type Response;
            /// Takes the answer out; `None` if it answers another request, which is a bug of the answerer.
            fn response(response: ControlResponse) -> Option<Self::Response>;
        }

        $(
            impl From<m::$request> for ControlRequest {
                fn from(request: m::$request) -> Self { Self::$method(request) }
            }
            impl From<m::$response> for ControlResponse {
                fn from(response: m::$response) -> Self { Self::$method(response) }
            }
            impl ControlCall for m::$request {
                type Response = m::$response;
                fn response(response: ControlResponse) -> Option<m::$response> {
                    match response { ControlResponse::$method(response) => Some(response), _ => None }
                }
            }
        )*
    };
}

vocabulary! {
    GetNode: GetNodeRequest => GetNodeResponse, Read;
    ListNodes: ListNodesRequest => ListNodesResponse, Read;
    UpdateNode: UpdateNodeRequest => UpdateNodeResponse, Write;
    RemoveNode: RemoveNodeRequest => RemoveNodeResponse, Write;
    GetTask: GetTaskRequest => GetTaskResponse, Read;
    ListTasks: ListTasksRequest => ListTasksResponse, Read;
    RemoveTask: RemoveTaskRequest => RemoveTaskResponse, Write;
    GetService: GetServiceRequest => GetServiceResponse, Read;
    ListServices: ListServicesRequest => ListServicesResponse, Read;
    CreateService: CreateServiceRequest => CreateServiceResponse, Write;
    UpdateService: UpdateServiceRequest => UpdateServiceResponse, Write;
    RemoveService: RemoveServiceRequest => RemoveServiceResponse, Write;
    ListServiceStatuses: ListServiceStatusesRequest => ListServiceStatusesResponse, Read;
    GetNetwork: GetNetworkRequest => GetNetworkResponse, Read;
    ListNetworks: ListNetworksRequest => ListNetworksResponse, Read;
    CreateNetwork: CreateNetworkRequest => CreateNetworkResponse, Write;
    RemoveNetwork: RemoveNetworkRequest => RemoveNetworkResponse, Write;
    GetCluster: GetClusterRequest => GetClusterResponse, Read;
    ListClusters: ListClustersRequest => ListClustersResponse, Read;
    UpdateCluster: UpdateClusterRequest => UpdateClusterResponse, Write;
    GetSecret: GetSecretRequest => GetSecretResponse, Read;
    UpdateSecret: UpdateSecretRequest => UpdateSecretResponse, Write;
    ListSecrets: ListSecretsRequest => ListSecretsResponse, Read;
    CreateSecret: CreateSecretRequest => CreateSecretResponse, Write;
    RemoveSecret: RemoveSecretRequest => RemoveSecretResponse, Write;
    GetConfig: GetConfigRequest => GetConfigResponse, Read;
    UpdateConfig: UpdateConfigRequest => UpdateConfigResponse, Write;
    ListConfigs: ListConfigsRequest => ListConfigsResponse, Read;
    CreateConfig: CreateConfigRequest => CreateConfigResponse, Write;
    RemoveConfig: RemoveConfigRequest => RemoveConfigResponse, Write;
    GetExtension: GetExtensionRequest => GetExtensionResponse, Read;
    CreateExtension: CreateExtensionRequest => CreateExtensionResponse, Write;
    RemoveExtension: RemoveExtensionRequest => RemoveExtensionResponse, Write;
    GetResource: GetResourceRequest => GetResourceResponse, Read;
    UpdateResource: UpdateResourceRequest => UpdateResourceResponse, Write;
    ListResources: ListResourcesRequest => ListResourcesResponse, Read;
    CreateResource: CreateResourceRequest => CreateResourceResponse, Write;
    RemoveResource: RemoveResourceRequest => RemoveResourceResponse, Write;
    CreateVolume: CreateVolumeRequest => CreateVolumeResponse, Write;
    GetVolume: GetVolumeRequest => GetVolumeResponse, Read;
    UpdateVolume: UpdateVolumeRequest => UpdateVolumeResponse, Write;
    ListVolumes: ListVolumesRequest => ListVolumesResponse, Read;
    RemoveVolume: RemoveVolumeRequest => RemoveVolumeResponse, Write;
}
