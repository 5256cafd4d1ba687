//! Datagrams to one published port on IPv6, and what is answered.
//!
//! Each client has a socket of its own towards a target, so that answers find back. One task owns the port's socket: when
//! it ends, the port is free.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::ports::Target;

/// Clients of one port at once; datagrams of others are dropped until one has been silent for long enough.
const CLIENTS_MAX: usize = 1024;
/// Silence after which a client's place is given up; docker-proxy's.
const CLIENT_SILENCE: Duration = Duration::from_secs(90);
/// How often silent ones are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// Datagrams on their way to one target, or back to all clients; more are dropped, as a network does.
const QUEUE: usize = 64;
/// The largest datagram.
const DATAGRAM_BYTES: usize = 64 * 1024;

struct Client {
    target: Target,
    heard_at: Instant,
    outward: mpsc::Sender<Vec<u8>>,
}

struct Answer {
    client: SocketAddr,
    bytes: Vec<u8>,
}

/// Passes them on until it is aborted.
pub async fn pass_on(socket: UdpSocket, mut targets: watch::Receiver<Vec<Target>>) {
    let (answers, mut answered) = mpsc::channel(QUEUE);
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let mut talks = JoinSet::new();
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut turn = 0;
    loop {
        tokio::select! {
            heard = socket.recv_from(&mut buffer) => {
                // Errors are of datagrams sent before: their receivers are gone.
                let Ok((length, from)) = heard else { continue };
                let known = clients.get(&from).filter(|client| targets.borrow().contains(&client.target));
                if known.is_none() {
                    clients.remove(&from);
                    let Some(target) = next(&targets.borrow(), &mut turn) else { continue };
                    if clients.len() >= CLIENTS_MAX {
                        continue;
                    }
                    let (outward, queue) = mpsc::channel(QUEUE);
                    talks.spawn(talk(from, target, queue, answers.clone()));
                    clients.insert(from, Client { target, heard_at: Instant::now(), outward });
                }
                if let Some(client) = clients.get_mut(&from) {
                    client.heard_at = Instant::now();
                    if client.outward.try_send(buffer[..length].to_vec()).is_err() {
                        tracing::trace!(%from, "a datagram was dropped");
                    }
                }
            }
            Some(Answer { client, bytes }) = answered.recv() => {
                if let Some(client) = clients.get_mut(&client) {
                    client.heard_at = Instant::now();
                }
                if let Err(error) = socket.send_to(&bytes, client).await {
                    tracing::trace!(%client, %error, "an answer was dropped");
                }
            }
            Some(_) = talks.join_next() => {}
            _ = sweep.tick() => clients.retain(|_, client| {
                client.heard_at.elapsed() < CLIENT_SILENCE && !client.outward.is_closed()
            }),
            changed = targets.changed() => {
                if changed.is_err() {
                    return;
                }
                let targets = targets.borrow_and_update();
                clients.retain(|_, client| targets.contains(&client.target));
            }
        }
    }
}

fn next(targets: &[Target], turn: &mut usize) -> Option<Target> {
    *turn = turn.wrapping_add(1);
    targets.get(*turn % targets.len().max(1)).copied()
}

/// One client's way to one target; ends with its queue.
async fn talk(client: SocketAddr, target: Target, mut queue: mpsc::Receiver<Vec<u8>>, answers: mpsc::Sender<Answer>) {
    let opened = async {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.connect(target).await?;
        Ok::<_, io::Error>(socket)
    };
    let socket = match opened.await {
        Ok(socket) => socket,
        Err(error) => return tracing::debug!(%client, %error, "a client's datagrams are not passed on"),
    };
    loop {
        tokio::select! {
            bytes = queue.recv() => {
                let Some(bytes) = bytes else { return };
                if let Err(error) = socket.send(&bytes).await {
                    tracing::trace!(%client, %error, "a datagram was dropped");
                }
            }
            ready = socket.readable() => {
                if ready.is_err() {
                    return;
                }
                // Room for a datagram only while there is one.
                let mut bytes = vec![0; DATAGRAM_BYTES];
                let Ok(length) = socket.try_recv(&mut bytes) else { continue };
                bytes.truncate(length);
                bytes.shrink_to_fit();
                if answers.try_send(Answer { client, bytes }).is_err() {
                    tracing::trace!(%client, "an answer was dropped");
                }
            }
        }
    }
}
