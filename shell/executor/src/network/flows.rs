//! Flows that the kernel's connection tracking keeps on their way after that way has changed.
//!
//! A TCP client notices that the other end is gone and connects anew. One that goes on sending datagrams from the same
//! port would never reach anybody again: each of them keeps the old flow alive.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use super::ports::Target;

/// Of `linux/netfilter/nfnetlink.h` and `nfnetlink_conntrack.h`: subsystem of connection tracking, its messages.
const SUBSYSTEM: u16 = 1 << 8;
const MESSAGE_NEW: u16 = SUBSYSTEM;
const MESSAGE_GET: u16 = SUBSYSTEM | 1;
const MESSAGE_DELETE: u16 = SUBSYSTEM | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_SOURCE_PORT: u16 = 2;
const PROTOCOL_DESTINATION_PORT: u16 = 3;
/// `IPS_SEEN_REPLY`.
const STATUS_REPLIED: u32 = 1 << 1;
/// Marks an attribute that holds others.
const NESTED: u16 = 1 << 15;
const HEADER_BYTES: usize = 16;
const FAMILY_BYTES: usize = 4;
/// Room for one datagram of a listing.
const BUFFER_BYTES: usize = 64 * 1024;

/// Forgets flows of datagrams to these published ports that lead to none of their targets, so that the next datagram
/// finds a way anew.
pub fn forget_strays(ports: &BTreeMap<u16, BTreeSet<Target>>) -> io::Result<()> {
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let mut strays = Vec::new();
    exchange(&socket, MESSAGE_GET, libc::NLM_F_DUMP as u16, &[], |attributes| {
        let stray = Flow::read(attributes).is_some_and(|flow| flow.is_stray(ports));
        strays.extend(stray.then(|| identity(attributes)));
    })?;
    for stray in strays {
        match exchange(&socket, MESSAGE_DELETE, libc::NLM_F_ACK as u16, &stray, |_| {}) {
            // Ended by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// One direction: from where, to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    source: Target,
    destination: Target,
    protocol: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    original: Way,
    reply: Way,
    replied: bool,
}

impl Flow {
    fn read(attributes: &[u8]) -> Option<Self> {
        let status: [u8; 4] = find(attributes, STATUS)?.try_into().ok()?;
        let replied = u32::from_be_bytes(status) & STATUS_REPLIED != 0;
        let way = |kind| Way::read(find(attributes, kind)?);
        Some(Self { original: way(TUPLE_ORIGINAL)?, reply: way(TUPLE_REPLY)?, replied })
    }

    fn is_stray(&self, ports: &BTreeMap<u16, BTreeSet<Target>>) -> bool {
        let Some(targets) = ports.get(&self.original.destination.1) else { return false };
        let udp = i32::from(self.original.protocol) == libc::IPPROTO_UDP;
        let redirected = self.reply.source != self.original.destination;
        // What never was redirected and was answered is a talk of the host's own, or through it.
        let unheard = !redirected && !self.replied && self.reply.destination == self.original.source;
        udp && (redirected || unheard) && !targets.contains(&self.reply.source)
    }
}

impl Way {
    fn read(tuple: &[u8]) -> Option<Self> {
        let (ip, protocol) = (find(tuple, TUPLE_IP)?, find(tuple, TUPLE_PROTOCOL)?);
        let address = |kind| Some(Ipv4Addr::from(<[u8; 4]>::try_from(find(ip, kind)?).ok()?));
        let port = |kind| Some(u16::from_be_bytes(find(protocol, kind)?.try_into().ok()?));
        Some(Self {
            source: (address(IP_SOURCE)?, port(PROTOCOL_SOURCE_PORT)?),
            destination: (address(IP_DESTINATION)?, port(PROTOCOL_DESTINATION_PORT)?),
            protocol: *find(protocol, PROTOCOL_NUMBER)?.first()?,
        })
    }
}

/// Kind, content and the whole of each attribute.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let whole = rest.get(..length).filter(|_| length >= 4)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !NESTED, &whole[4..], whole))
    })
}

fn find(list: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(list).find(|(found, ..)| *found == kind).map(|(_, content, _)| content)
}

/// What names a flow.
fn identity(list: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (_, _, whole) in attributes(list).filter(|(kind, ..)| matches!(*kind, TUPLE_ORIGINAL | ID)) {
        bytes.extend_from_slice(whole);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// Sends a request about IPv4's flows and reads answers up to the end of the listing, or the acknowledgement.
fn exchange(socket: &OwnedFd, kind: u16, flags: u16, payload: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let length = (HEADER_BYTES + FAMILY_BYTES + payload.len()) as u32;
    let mut request = Vec::with_capacity(length as usize);
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&(libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
    // Sequence and sender: nothing else is asked on this socket meanwhile.
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[libc::AF_INET as u8, 0, 0, 0]);
    request.extend_from_slice(payload);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut buffer = vec![0u8; BUFFER_BYTES];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((kind, message)) = next_message(&mut rest) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => {
                    let code = message.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ if kind == MESSAGE_NEW => each(message.get(FAMILY_BYTES..).unwrap_or_default()),
                _ => {}
            }
        }
    }
}

/// Kind and content of the first message; `None` at the end.
fn next_message<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
    let content = rest.get(HEADER_BYTES..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Target = (Ipv4Addr::new(192, 0, 2, 1), 53);
    const CLIENT: Target = (Ipv4Addr::new(192, 0, 2, 9), 4000);
    const LIVE: Target = (Ipv4Addr::new(172, 30, 0, 2), 53);
    const GONE: Target = (Ipv4Addr::new(172, 30, 0, 3), 53);

    fn flow(answering: Target, replied: bool) -> Flow {
        let way = |source, destination| Way { source, destination, protocol: 17 };
        Flow { original: way(CLIENT, HOST), reply: way(answering, CLIENT), replied }
    }

    #[test]
    fn flows_to_nobody_are_strays() {
        let ports = BTreeMap::from([(53, BTreeSet::from([LIVE]))]);
        assert!(flow(GONE, true).is_stray(&ports), "its container has left");
        assert!(flow(HOST, false).is_stray(&ports), "begun before anybody was there");
        assert!(!flow(LIVE, true).is_stray(&ports));
        assert!(!flow(HOST, true).is_stray(&ports), "a talk of the host's own");
        let mut tcp = flow(GONE, true);
        tcp.original.protocol = 6;
        assert!(!tcp.is_stray(&ports), "it ends by itself");
        assert!(!flow(GONE, true).is_stray(&BTreeMap::from([(54, BTreeSet::new())])));
    }

    #[test]
    fn attributes_are_read_as_they_are_nested() {
        let attribute = |kind: u16, content: &[u8]| {
            let mut bytes = Vec::new();
            bytes.extend_from_slice(&(content.len() as u16 + 4).to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let tuple = |source: Target, destination: Target| {
            let ip = [attribute(1, &source.0.octets()), attribute(2, &destination.0.octets())].concat();
            let ports = [attribute(2, &source.1.to_be_bytes()), attribute(3, &destination.1.to_be_bytes())].concat();
            let protocol = [attribute(1, &[17]), ports].concat();
            [attribute(1 | NESTED, &ip), attribute(2 | NESTED, &protocol)].concat()
        };
        let message = [
            attribute(1 | NESTED, &tuple(CLIENT, HOST)),
            attribute(2 | NESTED, &tuple(GONE, CLIENT)),
            attribute(3, &STATUS_REPLIED.to_be_bytes()),
            attribute(12, &[0, 0, 0, 7]),
        ]
        .concat();
        assert_eq!(Flow::read(&message), Some(flow(GONE, true)));
        let named = identity(&message);
        assert_eq!(find(&named, ID), Some(&[0, 0, 0, 7][..]));
        assert!(find(&named, TUPLE_REPLY).is_none() && find(&named, TUPLE_ORIGINAL).is_some());
        assert_eq!(Flow::read(&message[..40]), None, "what is cut off is nothing");
    }
}
