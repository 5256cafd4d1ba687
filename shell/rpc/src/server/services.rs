//! The generated services, each handing its request to the backend.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use skep_model::pb::messages as m;
use skep_model::pb::messages::health_check_response::ServingStatus;
use skep_model::{Code, Make, Refusal};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::authorise::{Identified, REVISION};
use crate::backend::{Backend, Call, FEED_CAPACITY, Feed, Visitor};
use crate::identity::check_csr;
use crate::status;
use crate::wire::swarmkit as wire;

/// All services over one backend.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) backend: Arc<dyn Backend>,
}

type Answer<T> = Result<Response<T>, Status>;

/// A backend's feed as a stream of the wire.
pub(super) struct Outgoing<T>(Feed<T>);

impl<T> Stream for Outgoing<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|item| item.map(|item| item.map_err(status)))
    }
}

/// The authenticated call behind a request, and its message.
pub(super) fn open<T>(request: Request<T>) -> Result<(Call, T), Status> {
    let (_, mut extensions, message) = request.into_parts();
    let call = extensions.remove::<Identified>().and_then(Identified::call);
    let missing = || Status::permission_denied("Permission denied: this method needs a certificate of this swarm");
    Ok((call.ok_or_else(missing)?, message))
}

fn visit<T>(request: Request<T>) -> Result<(Visitor, T), Status> {
    let (metadata, mut extensions, message) = request.into_parts();
    let make = if metadata.contains_key(REVISION) { Make::Skep } else { Make::Docker };
    let identified = extensions.remove::<Identified>().ok_or_else(|| Status::internal("a request from nowhere"))?;
    Ok((identified.visitor(make), message))
}

fn answer<T>(result: Result<T, Refusal>) -> Answer<T> {
    result.map(Response::new).map_err(status)
}

fn stream<T>(result: Result<Feed<T>, Refusal>) -> Answer<Outgoing<T>> {
    answer(result.map(Outgoing))
}

#[tonic::async_trait]
impl wire::ca_server::Ca for Services {
    async fn get_root_ca_certificate(
        &self,
        _request: Request<m::GetRootCaCertificateRequest>,
    ) -> Answer<m::GetRootCaCertificateResponse> {
        let certificate = self.backend.root_certificate().await;
        answer(certificate.map(|certificate| m::GetRootCaCertificateResponse { certificate }))
    }

    async fn get_unlock_key(&self, request: Request<m::GetUnlockKeyRequest>) -> Answer<m::GetUnlockKeyResponse> {
        let (call, _) = open(request)?;
        answer(self.backend.unlock_key(call).await)
    }
}

#[tonic::async_trait]
impl wire::node_ca_server::NodeCa for Services {
    async fn issue_node_certificate(
        &self,
        request: Request<m::IssueNodeCertificateRequest>,
    ) -> Answer<m::IssueNodeCertificateResponse> {
        let (visitor, request) = visit(request)?;
        // Nothing enters the store that could never be signed.
        check_csr(&request.csr).map_err(|error| status(Refusal::invalid(error.to_string())))?;
        answer(self.backend.issue_certificate(visitor, request).await)
    }

    async fn node_certificate_status(
        &self,
        request: Request<m::NodeCertificateStatusRequest>,
    ) -> Answer<m::NodeCertificateStatusResponse> {
        let (visitor, request) = visit(request)?;
        answer(self.backend.certificate_status(visitor, request).await)
    }
}

#[tonic::async_trait]
impl wire::dispatcher_server::Dispatcher for Services {
    type SessionStream = Outgoing<m::SessionMessage>;
    type TasksStream = Outgoing<m::TasksMessage>;
    type AssignmentsStream = Outgoing<m::AssignmentsMessage>;

    async fn session(&self, request: Request<m::SessionRequest>) -> Answer<Self::SessionStream> {
        let (call, request) = open(request)?;
        stream(self.backend.session(call, request).await)
    }

    async fn heartbeat(&self, request: Request<m::HeartbeatRequest>) -> Answer<m::HeartbeatResponse> {
        let (call, request) = open(request)?;
        answer(self.backend.heartbeat(call, request).await)
    }

    async fn update_task_status(
        &self,
        request: Request<m::UpdateTaskStatusRequest>,
    ) -> Answer<m::UpdateTaskStatusResponse> {
        let (call, request) = open(request)?;
        answer(self.backend.update_task_status(call, request).await.map(|()| m::UpdateTaskStatusResponse {}))
    }

    async fn update_volume_status(
        &self,
        request: Request<m::UpdateVolumeStatusRequest>,
    ) -> Answer<m::UpdateVolumeStatusResponse> {
        let (call, request) = open(request)?;
        answer(self.backend.update_volume_status(call, request).await.map(|()| m::UpdateVolumeStatusResponse {}))
    }

    async fn tasks(&self, _request: Request<m::TasksRequest>) -> Answer<Self::TasksStream> {
        // Only agents older than Docker 1.13 call it.
        Err(status(Refusal::new(Code::Unimplemented, "Tasks is deprecated: use Assignments")))
    }

    async fn assignments(&self, request: Request<m::AssignmentsRequest>) -> Answer<Self::AssignmentsStream> {
        let (call, request) = open(request)?;
        stream(self.backend.assignments(call, request).await)
    }
}

#[tonic::async_trait]
impl wire::resource_allocator_server::ResourceAllocator for Services {
    async fn attach_network(&self, request: Request<m::AttachNetworkRequest>) -> Answer<m::AttachNetworkResponse> {
        let (call, request) = open(request)?;
        answer(self.backend.attach_network(call, request).await)
    }

    async fn detach_network(&self, request: Request<m::DetachNetworkRequest>) -> Answer<m::DetachNetworkResponse> {
        let (call, request) = open(request)?;
        answer(self.backend.detach_network(call, request).await.map(|()| m::DetachNetworkResponse {}))
    }
}

#[tonic::async_trait]
impl wire::log_broker_server::LogBroker for Services {
    type ListenSubscriptionsStream = Outgoing<m::SubscriptionMessage>;

    async fn listen_subscriptions(
        &self,
        request: Request<m::ListenSubscriptionsRequest>,
    ) -> Answer<Self::ListenSubscriptionsStream> {
        let (call, _) = open(request)?;
        stream(self.backend.listen_subscriptions(call).await)
    }

    async fn publish_logs(&self, request: Request<Streaming<m::PublishLogsMessage>>) -> Answer<m::PublishLogsResponse> {
        let (call, mut messages) = open(request)?;
        let (sender, feed) = mpsc::channel(FEED_CAPACITY);
        let pump = async {
            while let Some(message) = messages.next().await {
                if sender.send(message.map_err(|error| crate::refusal(&error))).await.is_err() {
                    break;
                }
            }
            drop(sender);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = self.backend.publish_logs(call, feed) => answer(result.map(|()| m::PublishLogsResponse {})),
            () = pump => Err(Status::internal("the pump of log messages ended")),
        }
    }
}

#[tonic::async_trait]
impl wire::logs_server::Logs for Services {
    type SubscribeLogsStream = Outgoing<m::SubscribeLogsMessage>;

    async fn subscribe_logs(&self, request: Request<m::SubscribeLogsRequest>) -> Answer<Self::SubscribeLogsStream> {
        let (call, request) = open(request)?;
        stream(self.backend.subscribe_logs(call, request).await)
    }
}

#[tonic::async_trait]
impl wire::raft_membership_server::RaftMembership for Services {
    async fn join(&self, request: Request<m::JoinRequest>) -> Answer<m::JoinResponse> {
        let (call, mut request) = open(request)?;
        request.addr = complete_address(&request.addr, &call.caller.address).map_err(status)?;
        answer(self.backend.raft_join(call, request).await)
    }

    async fn leave(&self, request: Request<m::LeaveRequest>) -> Answer<m::LeaveResponse> {
        let (call, request) = open(request)?;
        answer(self.backend.raft_leave(call, request).await.map(|()| m::LeaveResponse {}))
    }
}

/// A host that is unspecified means the address from which the manager called.
pub(super) fn complete_address(address: &str, caller: &str) -> Result<String, Refusal> {
    let malformed = || Refusal::invalid(format!("{address:?} is not an address: expected HOST:PORT"));
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    if !matches!(host, "" | "0.0.0.0" | "[::]") {
        return Ok(address.to_owned());
    }
    Ok(if caller.contains(':') { format!("[{caller}]:{port}") } else { format!("{caller}:{port}") })
}

#[tonic::async_trait]
impl wire::health_server::Health for Services {
    async fn check(&self, request: Request<m::HealthCheckRequest>) -> Answer<m::HealthCheckResponse> {
        let (_, request) = open(request)?;
        let mut response = m::HealthCheckResponse::default();
        match request.service.as_str() {
            "" | "Raft" if self.backend.raft_serving() => response.set_status(ServingStatus::Serving),
            "" | "Raft" => response.set_status(ServingStatus::NotServing),
            _ => return Err(status(Refusal::new(Code::NotFound, "unknown service"))),
        }
        Ok(Response::new(response))
    }
}
