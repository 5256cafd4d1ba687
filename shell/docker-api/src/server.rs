//! Connections: HTTP/1.1 with keep-alive over whatever stream the wiring accepts, within limits, drained on the way
//! out. It knows nothing of routes.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::limits::{ACCEPT_PAUSE, MAX_CONNECTIONS, MAX_HEADER_BYTES, MAX_HEADERS};
use crate::router;

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Where connections come from. A listener with TLS hands out streams that finish their handshake when first used,
/// or calls [`serve_connection`] itself.
#[async_trait]
pub trait Listener: Send + 'static {
    /// The next connection. An error is logged and waited out.
    async fn accept(&mut self) -> std::io::Result<Box<dyn Stream>>;

    /// Whether its streams tell a client that closed its side for writing, which still gets its answer, from one that
    /// has gone, whose request is given up.
    fn tells_half_closed(&self) -> bool {
        false
    }
}

#[async_trait]
impl Listener for UnixListener {
    async fn accept(&mut self) -> std::io::Result<Box<dyn Stream>> {
        let (stream, _) = UnixListener::accept(self).await?;
        Ok(Box::new(HalfClosing(stream)))
    }

    fn tells_half_closed(&self) -> bool {
        true
    }
}

/// A stream whose end is an error when the other side is gone altogether; only unix sockets know the difference.
struct HalfClosing(UnixStream);

impl AsyncRead for HalfClosing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let standing = pin!(self.0.ready(Interest::WRITABLE));
        match standing.poll(cx) {
            Poll::Ready(Ok(standing)) if standing.is_write_closed() => {
                Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for HalfClosing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
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
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tells_half_closed = listener.tells_half_closed();
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
                    converse(stream, api, tells_half_closed).await;
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
    converse(stream, api, false).await;
}

async fn converse(stream: impl Stream, api: Api, tells_half_closed: bool) {
    let service = {
        let api = api.clone();
        service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, std::convert::Infallible>(router::respond(api, request).await) }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .half_close(tells_half_closed)
        .header_read_timeout(api.patience.header)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
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
