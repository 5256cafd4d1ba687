//! A worker's half of the dispatcher's protocol.

use std::sync::Arc;
use std::time::Duration;

use skep_model::pb::messages as m;
use skep_model::pb::skep;
use skep_model::{Code, Refusal};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::clients::{MESSAGE_BYTES_MAX, within};
use super::{Incoming, open};
use crate::backend::Ending;
use crate::tls::{Credentials, Trust};
use crate::wire::skep::peer_client::PeerClient;
use crate::wire::swarmkit::dispatcher_client::DispatcherClient as Wire;
use crate::wire::swarmkit::log_broker_client::LogBrokerClient;

/// How long the first message of a session, and each heartbeat, may take (interop §4.1).
const SESSION_TIMEOUT: Duration = Duration::from_secs(5);
/// A report that must be committed.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Log messages on their way before their reader waits.
const LOG_QUEUE: usize = 64;

/// One connection of a worker to a manager. Dropping it ends its streams.
#[derive(Clone, Debug)]
pub struct DispatcherClient {
    channel: Channel,
    ended: watch::Receiver<Option<Ending>>,
}

impl DispatcherClient {
    pub(super) fn open(address: &str, credentials: Arc<Credentials>) -> Result<Self, Refusal> {
        let (report, ended) = watch::channel(None);
        let channel = open(address, Trust::Member(credentials), move |ending| {
            report.send_replace(Some(ending));
        })?;
        Ok(Self { channel, ended })
    }

    /// Set once a connection that was made has ended: a session's reader learns it anyway, this says how.
    pub fn ended(&self) -> watch::Receiver<Option<Ending>> {
        self.ended.clone()
    }

    fn wire(&self) -> Wire<Channel> {
        Wire::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Registers; gives the first message, which names the session, and the stream of those that follow.
    pub async fn session(
        &self,
        request: m::SessionRequest,
    ) -> Result<(m::SessionMessage, Incoming<m::SessionMessage>), Refusal> {
        let mut wire = self.wire();
        let begin = async {
            let mut stream = wire.session(request).await?.into_inner();
            let first = stream.message().await?.ok_or_else(|| tonic::Status::aborted("the session ended at once"))?;
            Ok(tonic::Response::new((first, Incoming(stream))))
        };
        within(SESSION_TIMEOUT, begin).await
    }

    /// Says that this node lives; answers when to say so again.
    pub async fn heartbeat(&self, request: m::HeartbeatRequest) -> Result<Duration, Refusal> {
        let response = within(SESSION_TIMEOUT, self.wire().heartbeat(request)).await?;
        let period = response.period.ok_or_else(|| Refusal::new(Code::Internal, "a heartbeat without a period"))?;
        Ok(skep_model::time::duration(&period))
    }

    /// What this node shall run; its first message is complete, the following ones are changes.
    pub async fn assignments(
        &self,
        request: m::AssignmentsRequest,
    ) -> Result<Incoming<m::AssignmentsMessage>, Refusal> {
        within(SESSION_TIMEOUT, self.wire().assignments(request)).await.map(Incoming)
    }

    /// Reports on tasks.
    pub async fn update_task_status(&self, request: m::UpdateTaskStatusRequest) -> Result<(), Refusal> {
        within(REPORT_TIMEOUT, self.wire().update_task_status(request)).await.map(|_| ())
    }

    /// Reports on volumes; an older Docker manager that does not know them is no failure.
    pub async fn update_volume_status(&self, request: m::UpdateVolumeStatusRequest) -> Result<(), Refusal> {
        let answer = within(REPORT_TIMEOUT, self.wire().update_volume_status(request)).await;
        super::clients::skep_only(answer).map(|_| ())
    }

    /// Introduces this node to the manager of its session; `None` when that is a Docker Engine.
    pub async fn hello(&self, request: skep::HelloRequest) -> Result<Option<skep::HelloResponse>, Refusal> {
        let mut client = PeerClient::new(self.channel.clone());
        super::clients::skep_only(within(SESSION_TIMEOUT, client.hello(request)).await)
    }

    /// Which logs the managers want.
    pub async fn listen_subscriptions(&self) -> Result<Incoming<m::SubscriptionMessage>, Refusal> {
        let mut wire = LogBrokerClient::new(self.channel.clone());
        within(SESSION_TIMEOUT, wire.listen_subscriptions(m::ListenSubscriptionsRequest {})).await.map(Incoming)
    }

    /// Opens a stream of logs. Messages go into the sender; dropping it ends the stream, and the handle then tells
    /// whether everything arrived. Must be called within a Tokio runtime.
    pub fn publish_logs(&self) -> (mpsc::Sender<m::PublishLogsMessage>, tokio::task::JoinHandle<Result<(), Refusal>>) {
        let (sender, receiver) = mpsc::channel(LOG_QUEUE);
        let mut wire = LogBrokerClient::new(self.channel.clone());
        let handle = tokio::spawn(async move {
            let answer = wire.publish_logs(ReceiverStream::new(receiver)).await;
            answer.map(|_| ()).map_err(|status| super::failure(&status))
        });
        (sender, handle)
    }
}
