//! A connection that became a process's streams: its bytes are the input, frames (or raw bytes) the output.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::engine::ExecStreams;
use crate::frames::Packing;
use crate::limits::{UPGRADE_TIMEOUT, UPGRADED_READ_BYTES};

/// Runs until the output ends, the client goes, or the server stops. A client that closes its side for writing closes
/// the process's input and still gets the output.
pub(crate) async fn join(upgrade: OnUpgrade, mut streams: ExecStreams, packing: Packing, stop: CancellationToken) {
    let upgraded = match tokio::time::timeout(UPGRADE_TIMEOUT, upgrade).await {
        Ok(Ok(upgraded)) => upgraded,
        Ok(Err(error)) => return tracing::debug!(%error, "the client did not switch protocols"),
        Err(_) => return tracing::debug!("the client took too long to switch protocols"),
    };
    let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
    let input = streams.input.take();
    let feed = async move {
        if let Some(input) = input
            && let Err(error) = copy(&mut reader, input).await
        {
            tracing::debug!(%error, "the input of a process broke off");
        }
        std::future::pending::<()>().await;
    };
    let drain = async {
        while let Some((stream, data)) = streams.output.recv().await {
            let sent = writer.write_all(&packing.pack(stream.into(), &data)).await;
            if sent.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
        if let Err(error) = writer.shutdown().await {
            tracing::debug!(%error, "the client was gone before the end of the output");
        }
    };
    tokio::select! {
        () = feed => {}
        () = drain => {}
        () = stop.cancelled() => {}
    }
}

/// Copies until the client closes its side, then closes the input.
async fn copy(
    reader: &mut (impl tokio::io::AsyncRead + Unpin),
    mut input: std::pin::Pin<Box<dyn AsyncWrite + Send>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; UPGRADED_READ_BYTES];
    loop {
        let length = reader.read(&mut buffer).await?;
        if length == 0 {
            return input.shutdown().await;
        }
        input.write_all(&buffer[..length]).await?;
        input.flush().await?;
    }
}
