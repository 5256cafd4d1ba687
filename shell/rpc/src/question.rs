//! One question in HTTP/1.1 over a stream that is there already; nothing is kept open.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use skep_model::with_causes;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The other end went away, or speaks no HTTP.
    #[error("{}", with_causes(.0))]
    Connection(#[source] hyper::Error),
    /// What it said ended early, or is larger than what is read.
    #[error("the answer cannot be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Asks; of the answer at most so many bytes are read.
pub async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    answer_bytes_max: usize,
) -> Result<(StatusCode, Bytes), QuestionError> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(QuestionError::Connection)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(QuestionError::Connection)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), answer_bytes_max).collect().await;
        body.map(|body| (status, body.to_bytes())).map_err(QuestionError::Body)
    };
    let connection = std::pin::pin!(connection);
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // Ended before its time: the answer is there already, or will say that it cannot come.
        ended = connection => {
            ended.map_err(QuestionError::Connection)?;
            answered.await
        }
    }
}
