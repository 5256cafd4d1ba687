//! How a TCP connection of the cluster behaves.

use std::io;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

/// Sends small messages at once, and gives the connection up when sent bytes stay unacknowledged for `limit`: after a
/// cut cable the kernel would otherwise wait minutes between its attempts, and be late when the cable is whole again.
pub(crate) fn prepare(tcp: &TcpStream, limit: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    setsockopt(tcp, sockopt::TcpUserTimeout, &milliseconds).map_err(io::Error::from)
}
