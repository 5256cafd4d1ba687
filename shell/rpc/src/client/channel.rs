//! A kept gRPC connection to one manager.

use std::sync::Arc;

use skep_model::{Code, Refusal};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::backend::Ending;
use crate::tls::{CONNECT_TIMEOUT, Connector, Trust, Watcher};

/// Bytes in flight on one stream before the receiver must have taken some.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// A channel that connects when first used, and again when needed. `watcher` hears of the end of each connection.
pub(crate) fn open(
    address: &str,
    trust: Trust,
    watcher: impl Fn(Ending) + Send + Sync + 'static,
) -> Result<Channel, Refusal> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| Refusal::invalid(format!("{address:?} is not an address: expected HOST:PORT")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let watcher: Watcher = Arc::new(watcher);
    Ok(endpoint.connect_with_connector_lazy(Connector { trust, watcher }))
}

/// A channel for calls that nothing else here makes.
pub fn channel(address: &str, trust: Trust) -> Result<Channel, Refusal> {
    open(address, trust, |_| ())
}

/// A status as a refusal; for one that comes from the connection, with the cause that tonic hides.
pub(crate) fn failure(status: &Status) -> Refusal {
    let mut cause = std::error::Error::source(status);
    if cause.is_none() {
        return crate::refusal(status);
    }
    let mut sentence = status.message().to_owned();
    while let Some(error) = cause {
        let text = error.to_string();
        if !sentence.ends_with(&text) {
            sentence = format!("{sentence}: {text}");
        }
        cause = error.source();
    }
    let refusal = crate::refusal(status);
    // What a broken connection leaves behind has no code of the other side.
    let code = if refusal.code == Code::Unknown { Code::Unavailable } else { refusal.code };
    Refusal::new(code, sentence)
}
