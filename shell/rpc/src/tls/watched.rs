//! A connection that tells how it ended, at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::backend::Ending;

/// Called once per connection.
pub(crate) type Watcher = Arc<dyn Fn(Ending) + Send + Sync>;

/// Passes everything on and sees the end: an error, or silence's end without TLS's farewell (which the TLS stream
/// below reports as an unexpected end), is a reset; anything else is orderly.
pub(crate) struct Watched<S> {
    stream: S,
    watcher: Option<Watcher>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, watcher: Watcher) -> Self {
        Self { stream, watcher: Some(watcher) }
    }

    fn ended(&mut self, ending: Ending) {
        if let Some(watcher) = self.watcher.take() {
            watcher(ending);
        }
    }

    fn seen<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result {
            // Our own kernel gave up on a silent peer: that is not the peer's end.
            let silent = error.kind() == io::ErrorKind::TimedOut;
            self.ended(if silent { Ending::Orderly } else { Ending::Reset });
        }
        result
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        self.ended(Ending::Orderly);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        if matches!(result, Poll::Ready(Ok(()))) && buf.filled().len() == before && buf.remaining() > 0 {
            this.ended(Ending::Orderly);
        }
        this.seen(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.seen(result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(cx);
        this.seen(result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // We say goodbye ourselves: how the other side takes it no longer matters.
        let this = self.get_mut();
        this.ended(Ending::Orderly);
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.seen(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
