//! Connections: HTTP/1.1 with keep-alive over whatever stream the wiring accepts, within limits, drained on the way
//! out. It knows nothing of routes.

use std::sync::Arc;

use async_trait::async_trait;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::half_close::{AnswerBody, Endless, HalfClosing, Line, RequestBody};
use crate::limits::{ACCEPT_PAUSE, MAX_CONNECTIONS, MAX_HEADER_BYTES, MAX_HEADERS};
use crate::router;
use crate::routes::EventLog;

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Where connections come from. A listener with TLS hands out streams that finish their handshake when first used,
/// or calls [`serve_connection`] itself.
#[async_trait]
pub trait Listener: Send + 'static {
    /// The next connection. An error is logged and waited out.
    async fn accept(&mut self) -> std::io::Result<Box<dyn Stream>>;
}

#[async_trait]
impl Listener for UnixListener {
    async fn accept(&mut self) -> std::io::Result<Box<dyn Stream>> {
        let (stream, _) = UnixListener::accept(self).await?;
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&mut self) -> std::io::Result<Box<dyn Stream>> {
        let (stream, _) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// Serves until the API is told to stop, then finishes what is open, for at most [`crate::limits::DRAIN_TIMEOUT`].
pub async fn serve(mut listener: impl Listener, api: Api) {
    EventLog::start(&api);
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            // The semaphore is never closed; without a place nobody is accepted.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            accepted = accepted => accepted,
            () = api.stop.cancelled() => break,
        };
        match stream {
            Ok(stream) => {
                let api = api.clone();
                connections.spawn(async move {
                    serve_connection(stream, api).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the API could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(api.patience.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections to the API are cut off");
    }
}

/// Serves one connection until the client goes, or the API is told to stop and the request under way is answered.
pub async fn serve_connection(stream: impl Stream, api: Api) {
    let line = Arc::new(Line::default());
    let service = {
        let (api, line) = (api.clone(), line.clone());
        service_fn(move |request: Request<Incoming>| {
            let (api, line) = (api.clone(), line.clone());
            // Known before the connection is read on, not when the answer is first asked for: by then its end may be seen.
            let request = request.map(|body| RequestBody::new(body, line.clone()));
            async move {
                let reply = router::respond(api, request).await;
                line.pass_over_unread().await;
                let endless = reply.extensions().get::<Endless>().is_some();
                Ok::<_, std::convert::Infallible>(reply.map(|body| AnswerBody::new(body, line, endless)))
            }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(api.patience.header)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(HalfClosing::new(stream, line)), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = api.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(api.patience.drain, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API broke off");
    }
}
