//! One accepted connection: handshake, requests, and how it ended.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use skep_model::pb::types::NodeRole;
use skep_model::{Code, Refusal};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt;

use super::authorise::{Origin, authorise, identify, is_forwarded};
use super::methods::{Place, is_upload, method, waits_for_leader};
use super::proxy::forward;
use super::until::{DISCONNECT, until};
use super::{
    CLOSE_PATIENCE, CLOSE_TIMEOUT, HANDSHAKE_TIMEOUT, HEADER_BYTES_MAX, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT,
    LEADER_PATIENCE, MANAGER_STREAMS_MAX, STREAMS_MAX, Shared, UNACKNOWLEDGED_MAX,
};
use crate::backend::{ConnectionId, Ending, Leader};
use crate::identity::read_membership;
use crate::status;
use crate::tls::{Watched, prepare};

/// Serves a connection to its end; `close` ends it early.
pub(super) async fn serve(
    shared: Arc<Shared>,
    tcp: TcpStream,
    address: SocketAddr,
    number: u64,
    close: CancellationToken,
) {
    let config = Arc::clone(&shared.credentials.current().server);
    let handshake = async {
        prepare(&tcp, UNACKNOWLEDGED_MAX)?;
        TlsAcceptor::from(config).accept(tcp).await
    };
    let tls = tokio::select! {
        result = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake) => match result {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%address, "TLS handshake took too long"),
        },
        () = close.cancelled() => return,
    };
    let leaf = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = match leaf.map(read_membership).transpose() {
        Ok(peer) => peer,
        Err(error) => return tracing::debug!(%address, %error, "refused a certificate that names no node"),
    };
    shared.authenticated(number, peer.as_ref());
    let is_self = peer.as_ref().is_some_and(|peer| peer.node == shared.credentials.identity().membership().node);
    let address = match shared.clients.home() {
        Some(home) if is_self => home.seen_from_outside(address),
        _ => address,
    };
    let ending = Arc::new(OnceLock::new());
    let seen = Arc::clone(&ending);
    let io = Watched::new(
        tls,
        Arc::new(move |how| {
            seen.get_or_init(|| how);
        }),
    );
    let connection = Arc::new(Connection {
        shared: Arc::clone(&shared),
        origin: Origin { address, connection: number, peer: peer.clone() },
        passed_on: AtomicBool::new(false),
        close: close.clone(),
    });
    run(&connection, TokioIo::new(io), close).await;
    connection.closed(ending.get().copied().unwrap_or(Ending::Orderly)).await;
}

async fn run<S>(connection: &Arc<Connection>, io: TokioIo<Watched<S>>, close: CancellationToken)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let is_manager = connection.origin.peer.as_ref().is_some_and(|peer| peer.role == NodeRole::Manager);
    let streams = if is_manager { MANAGER_STREAMS_MAX } else { STREAMS_MAX };
    let handler = Arc::clone(connection);
    let service = service_fn(move |request| {
        let connection = Arc::clone(&handler);
        async move { Ok::<_, std::convert::Infallible>(connection.handle(request).await) }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(streams)
        .max_header_list_size(HEADER_BYTES_MAX)
        .serve_connection(io, service);
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = close.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(CLOSE_TIMEOUT, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(address = %connection.origin.address, %error, "connection ended");
    }
}

struct Connection {
    shared: Arc<Shared>,
    origin: Origin,
    /// Whether calls went on to the leader, who then wants to know how this connection ends.
    passed_on: AtomicBool,
    /// Asked to end: streams end with a status, so that the connection can end in good order.
    close: CancellationToken,
}

impl Connection {
    async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let patience = if is_upload(request.uri().path()) { Duration::ZERO } else { CLOSE_PATIENCE };
        let close = self.close.clone();
        let closed = async {
            close.cancelled().await;
            tokio::time::sleep(patience).await;
        };
        let answer = tokio::select! {
            answer = self.answer(request) => answer,
            () = closed => Err(Refusal::new(Code::Aborted, DISCONNECT)),
        };
        match answer {
            Ok(response) => until(response, async move {
                close.cancelled_owned().await;
                Status::aborted(DISCONNECT)
            }),
            Err(refusal) => status(refusal).into_http(),
        }
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let backend = &self.shared.backend;
        let Some((callers, place)) = method(request.uri().path()) else {
            return Err(Refusal::new(Code::Unimplemented, format!("unknown method {}", request.uri().path())));
        };
        let cluster = self.shared.credentials.identity().membership().cluster.clone();
        let identified = identify(&self.origin, request.headers(), &cluster, |node| backend.standing(node))?;
        let mut leader = backend.leader();
        if place == Place::Leader && waits_for_leader(request.uri().path()) {
            // Without one in time it is refused below; an error means the same.
            drop(tokio::time::timeout(LEADER_PATIENCE, leader.wait_for(|now| *now != Leader::None)).await);
        }
        let now = leader.borrow().clone();
        let local = place != Place::Leader || now == Leader::Me;
        authorise(&identified, callers, place, local, |node| backend.standing(node))?;
        if local {
            request.extensions_mut().insert(identified);
            let response = self.shared.routes.clone().oneshot(request).await;
            return Ok(response.unwrap_or_else(|never| match never {}));
        }
        let Leader::Other { node, address } = now else { return Err(Refusal::no_leader()) };
        if !is_forwarded(request.headers()) {
            self.passed_on.store(true, Ordering::Relaxed);
        }
        let channel = self.shared.clients.channel(&address)?;
        forward(channel, request, &self.origin, leader, &node).await
    }

    /// Tells the node, and the leader if it served this connection through us.
    async fn closed(&self, ending: Ending) {
        let node = self.origin.peer.as_ref().map(|peer| peer.node.clone());
        let id = ConnectionId { manager: None, number: self.origin.connection };
        let leader = self.shared.backend.leader().borrow().clone();
        self.shared.backend.connection_closed(id, node.clone(), ending).await;
        let (Some(node), Leader::Other { address, .. }) = (node, leader) else { return };
        if self.passed_on.load(Ordering::Relaxed) {
            let reset = ending == Ending::Reset;
            let told = self.shared.clients.connection_closed(&address, self.origin.connection, &node, reset).await;
            if let Err(refusal) = told {
                tracing::debug!(%node, %refusal, "could not tell the leader that a connection is gone");
            }
        }
    }
}
