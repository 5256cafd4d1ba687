//! Published ports on IPv6: containers have IPv4 addresses alone, so what comes to `[::]` is passed on by the daemon.
//!
//! What comes to IPv4 is the packet filter's, which needs no daemon. Here a connection lasts as long as the daemon: until
//! it is back, a port answers on IPv4 alone. A container sees the bridge's address as where such a connection comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener as StdListener, UdpSocket as StdUdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt, socket, sockopt,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::datagrams;
use super::filter::Publications;
use super::ports::Target;

/// Connections of one port at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
/// How long one of several targets may take to answer before the next one is asked.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// After connections could not be taken (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Key = (String, u16);

struct Forwarded {
    targets: watch::Sender<Vec<Target>>,
    task: JoinHandle<()>,
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct State {
    open: BTreeMap<Key, Forwarded>,
    /// Their sockets may not be closed yet.
    closing: BTreeSet<Key>,
    /// What could not be opened was said.
    failed: BTreeSet<Key>,
}

/// The ports that are passed on.
#[derive(Default)]
pub struct Forwarder {
    state: Mutex<State>,
}

impl Forwarder {
    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a process of the host holds the port on IPv6.
    pub fn is_taken(&self, protocol: &str, port: u16) -> bool {
        let key = (protocol.to_owned(), port);
        let state = self.held();
        let ours = state.open.contains_key(&key) || state.closing.contains(&key);
        !ours && is_forwarded(&key) && matches!(open(&key), Err(Errno::EADDRINUSE))
    }

    /// Passes on what comes to these ports and no others. Connections under way go on. One call at a time.
    pub async fn set(&self, wanted: &Publications) {
        let stale: BTreeMap<Key, Forwarded> = {
            let mut state = self.held();
            let open = std::mem::take(&mut state.open);
            let (open, stale) = open.into_iter().partition(|(key, _)| wanted.contains_key(key));
            state.open = open;
            state.failed.retain(|key| wanted.contains_key(key));
            let stale: BTreeMap<Key, Forwarded> = stale;
            state.closing.extend(stale.keys().cloned());
            stale
        };
        for (key, mut forwarded) in stale {
            forwarded.task.abort();
            // It was aborted, or had ended: either way its socket is closed now.
            let _ended = (&mut forwarded.task).await.is_ok();
            self.held().closing.remove(&key);
        }
        for (key, targets) in wanted.iter().filter(|(key, _)| is_forwarded(key)) {
            self.held().forward(key, targets);
        }
    }
}

impl State {
    fn forward(&mut self, key: &Key, targets: &[Target]) {
        if let Some(forwarded) = self.open.get(key) {
            forwarded.targets.send_if_modified(|held| {
                let changed = held != targets;
                if changed {
                    *held = targets.to_vec();
                }
                changed
            });
            return;
        }
        let (sender, receiver) = watch::channel(targets.to_vec());
        match open(key).map_err(io::Error::from).and_then(|socket| serve(key, socket, receiver)) {
            Ok(task) => {
                self.failed.remove(key);
                self.open.insert(key.clone(), Forwarded { targets: sender, task });
            }
            Err(error) if self.failed.insert(key.clone()) && !is_absent(&error) => {
                let (protocol, port) = key;
                tracing::warn!(%error, protocol, port, "a published port answers on IPv4 alone");
            }
            Err(_) => {}
        }
    }
}

/// SCTP is the packet filter's alone.
fn is_forwarded((protocol, _): &Key) -> bool {
    matches!(protocol.as_str(), "tcp" | "udp")
}

/// Whether the host does without IPv6.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Binds `[::]` for IPv6 alone.
fn open((protocol, port): &Key) -> nix::Result<OwnedFd> {
    let kind = if protocol == "udp" { SockType::Datagram } else { SockType::Stream };
    let socket = socket(AddressFamily::Inet6, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    if kind == SockType::Stream {
        // Connections that ended a moment ago do not keep the port.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, *port, 0, 0);
    bind(socket.as_raw_fd(), &SockaddrIn6::from(address))?;
    Ok(socket)
}

fn serve((protocol, _): &Key, socket: OwnedFd, targets: watch::Receiver<Vec<Target>>) -> io::Result<JoinHandle<()>> {
    if protocol == "udp" {
        let socket = tokio::net::UdpSocket::from_std(StdUdpSocket::from(socket))?;
        return Ok(tokio::spawn(datagrams::pass_on(socket, targets)));
    }
    listen(&socket, Backlog::MAXCONN)?;
    let listener = TcpListener::from_std(StdListener::from(socket))?;
    Ok(tokio::spawn(connections(listener, targets)))
}

async fn connections(listener: TcpListener, targets: watch::Receiver<Vec<Target>>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for turn in 0_usize.. {
        // It is never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let client = loop {
            match listener.accept().await {
                Ok((client, _)) => break client,
                Err(error) => {
                    tracing::debug!(%error, "a connection on IPv6 was not taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        let targets = targets.borrow().clone();
        tokio::spawn(async move {
            if let Err(error) = connection(client, &targets, turn).await {
                tracing::debug!(%error, "a connection on IPv6 ended");
            }
            drop(place);
        });
    }
}

/// Passes bytes on both ways; each way ends by itself.
async fn connection(mut client: TcpStream, targets: &[Target], turn: usize) -> io::Result<()> {
    let mut server = reach(targets, turn).await?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
        // Whoever vanished without a word does not keep its place for ever.
        setsockopt(socket, sockopt::KeepAlive, &true)?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

/// The next one in turn, or another one when that does not answer.
async fn reach(targets: &[Target], turn: usize) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::NotConnected);
    for place in 0..targets.len() {
        let target = targets[turn.wrapping_add(place) % targets.len()];
        match tokio::time::timeout(CONNECT_PATIENCE, TcpStream::connect(target)).await {
            Ok(Ok(server)) => return Ok(server),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UdpSocket;

    use super::*;

    /// Answers what it heard, with a name before it, once the client has said all.
    async fn server(name: &'static str) -> Target {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut heard = Vec::new();
                    client.read_to_end(&mut heard).await.expect("read");
                    client.write_all(name.as_bytes()).await.expect("written");
                    client.write_all(&heard).await.expect("written");
                });
            }
        });
        (Ipv4Addr::LOCALHOST, port)
    }

    fn free_port(protocol: &str) -> u16 {
        let socket = open(&(protocol.to_owned(), 0)).expect("bound");
        if protocol == "udp" {
            StdUdpSocket::from(socket).local_addr().expect("address").port()
        } else {
            StdListener::from(socket).local_addr().expect("address").port()
        }
    }

    async fn ask(port: u16, words: &str) -> io::Result<String> {
        let mut client = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await?;
        client.write_all(words.as_bytes()).await?;
        client.shutdown().await?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn connections_go_to_the_targets_in_turn() {
        let (first, second) = (server("a").await, server("b").await);
        let gone = (Ipv4Addr::LOCALHOST, 1);
        let forwarder = Forwarder::default();
        let port = free_port("tcp");
        let key = ("tcp".to_owned(), port);
        forwarder.set(&Publications::from([(key.clone(), vec![first, second, gone])])).await;
        let mut answers = BTreeSet::new();
        for _ in 0..6 {
            answers.insert(ask(port, " hears").await.expect("an answer"));
        }
        assert_eq!(answers.into_iter().collect::<Vec<_>>(), ["a hears", "b hears"]);
        assert!(!forwarder.is_taken("tcp", port), "it is ours");
        forwarder.set(&Publications::from([(key, vec![second])])).await;
        assert_eq!(ask(port, "").await.expect("an answer"), "b");
        forwarder.set(&Publications::new()).await;
        ask(port, "").await.expect_err("closed");
        let other = open(&("tcp".to_owned(), port)).expect("free at once");
        listen(&other, Backlog::MAXCONN).expect("listening");
        assert!(forwarder.is_taken("tcp", port));
        drop(other);
    }

    #[tokio::test]
    async fn a_connection_outlives_its_port() {
        let target = server("a").await;
        let forwarder = Forwarder::default();
        let port = free_port("tcp");
        forwarder.set(&Publications::from([(("tcp".to_owned(), port), vec![target])])).await;
        let mut client = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.expect("connected");
        client.write_all(b"1").await.expect("written");
        assert_eq!(ask(port, "2").await.expect("an answer"), "a2", "so the one before it was taken, too");
        forwarder.set(&Publications::new()).await;
        client.write_all(b"3").await.expect("written");
        client.shutdown().await.expect("half closed");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        assert_eq!(answer, "a13");
    }

    #[tokio::test]
    async fn datagrams_are_passed_on_and_answered() {
        let name = |name: &'static str| async move {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
            let port = socket.local_addr().expect("address").port();
            tokio::spawn(async move {
                let mut buffer = [0; 64];
                while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                    let answer = [name.as_bytes(), &buffer[..length]].concat();
                    socket.send_to(&answer, client).await.expect("sent");
                }
            });
            (Ipv4Addr::LOCALHOST, port)
        };
        let (first, second) = (name("a").await, name("b").await);
        let forwarder = Forwarder::default();
        let port = free_port("udp");
        let key = ("udp".to_owned(), port);
        forwarder.set(&Publications::from([(key.clone(), vec![first])])).await;
        let client = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.expect("bound");
        client.connect((Ipv6Addr::LOCALHOST, port)).await.expect("connected");
        let ask = |words: &'static [u8]| {
            let client = &client;
            async move {
                let mut buffer = [0; 64];
                client.send(words).await.expect("sent");
                let length = client.recv(&mut buffer).await.expect("an answer");
                buffer[..length].to_vec()
            }
        };
        assert_eq!(ask(b"1").await, b"a1");
        assert_eq!(ask(b"2").await, b"a2");
        forwarder.set(&Publications::from([(key, vec![second])])).await;
        assert_eq!(ask(b"3").await, b"b3", "a talk with who has left goes on with who is there");
        forwarder.set(&Publications::new()).await;
        assert!(!forwarder.is_taken("udp", port), "closed at once");
    }
}
