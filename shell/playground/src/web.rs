//! The web service of the tour: says on which host it runs. `skep playground-web`, inside a container.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use signal_hook::consts::SIGTERM;

/// Where it listens.
const ADDRESS: &str = "0.0.0.0:8080";
/// How often the end is looked for.
const POLL: Duration = Duration::from_millis(20);
/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 4096;
/// A client that is slower is dropped.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until TERM.
pub fn serve() -> anyhow::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&ended))?;
    let listener = TcpListener::bind(ADDRESS).context("listening on 8080")?;
    listener.set_nonblocking(true)?;
    println!("listening on {ADDRESS}");
    while !ended.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, from)) => {
                println!("request from {from}");
                if let Err(error) = answer(stream) {
                    eprintln!("{from}: {error}");
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(POLL),
            Err(error) => return Err(error.into()),
        }
    }
    println!("ending in good order");
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut request = [0; REQUEST_BYTES_MAX];
    let length = stream.read(&mut request)?;
    if length == 0 {
        return Ok(());
    }
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let body = format!("hello from task {}\n", host.trim());
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
