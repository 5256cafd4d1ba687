//! Flows that the kernel's connection tracking keeps on their way after that way has changed.
//!
//! A TCP client notices that the other end is gone and connects anew. One that goes on sending datagrams from the same
//! port would never reach anybody again: each of them keeps the old flow alive.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, Nla};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Status, Tuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use nix::sys::socket::SockProtocol;

use super::netlink_socket::NetlinkSocket;
use super::ports::Target;

/// `CTA_ID` of `linux/netfilter/nfnetlink_conntrack.h`, which the library does not name.
const ID: u16 = 12;

/// Forgets flows of datagrams to these published ports that lead to none of their targets, so that the next datagram
/// finds a way anew.
pub fn forget_strays(ports: &BTreeMap<u16, BTreeSet<Target>>) -> io::Result<()> {
    let mut socket = NetlinkSocket::open(SockProtocol::NetlinkNetFilter)?;
    let mut strays = Vec::new();
    socket.ask(of_ipv4(ConntrackMessage::Get(Vec::new())), NLM_F_DUMP, |message| {
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else { return };
        if Flow::read(&attributes).is_some_and(|flow| flow.is_stray(ports)) {
            strays.push(identity(attributes));
        }
    })?;
    for stray in strays {
        match socket.ask(of_ipv4(ConntrackMessage::Delete(stray)), NLM_F_ACK, |_| {}) {
            // Ended by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

fn of_ipv4(message: ConntrackMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0), message)
}

/// One direction: from where, to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    source: Target,
    destination: Target,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    original: Way,
    reply: Way,
    replied: bool,
}

impl Flow {
    fn read(attributes: &[ConntrackAttribute]) -> Option<Self> {
        let (mut original, mut reply, mut replied) = (None, None, None);
        for attribute in attributes {
            match attribute {
                ConntrackAttribute::CtaTupleOrig(tuple) => original = Way::read(tuple),
                ConntrackAttribute::CtaTupleReply(tuple) => reply = Way::read(tuple),
                ConntrackAttribute::CtaStatus(status) => replied = Some(status.contains(Status::SeenReply)),
                _ => {}
            }
        }
        Some(Self { original: original?, reply: reply?, replied: replied? })
    }

    fn is_stray(&self, ports: &BTreeMap<u16, BTreeSet<Target>>) -> bool {
        let Some(targets) = ports.get(&self.original.destination.1) else { return false };
        let redirected = self.reply.source != self.original.destination;
        // What never was redirected and was answered is a talk of the host's own, or through it.
        let unheard = !redirected && !self.replied && self.reply.destination == self.original.source;
        self.original.protocol == Protocol::Udp && (redirected || unheard) && !targets.contains(&self.reply.source)
    }
}

impl Way {
    fn read(tuple: &[Tuple]) -> Option<Self> {
        let (mut from, mut to, mut source_port, mut destination_port, mut protocol) = (None, None, None, None, None);
        for part in tuple {
            match part {
                Tuple::Ip(addresses) => {
                    for address in addresses {
                        match address {
                            IPTuple::SourceAddress(IpAddr::V4(address)) => from = Some(*address),
                            IPTuple::DestinationAddress(IpAddr::V4(address)) => to = Some(*address),
                            _ => {}
                        }
                    }
                }
                Tuple::Proto(parts) => {
                    for part in parts {
                        match part {
                            ProtoTuple::Protocol(number) => protocol = Some(*number),
                            ProtoTuple::SourcePort(port) => source_port = Some(*port),
                            ProtoTuple::DestinationPort(port) => destination_port = Some(*port),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(Self { source: (from?, source_port?), destination: (to?, destination_port?), protocol: protocol? })
    }
}

/// What names a flow.
fn identity(attributes: Vec<ConntrackAttribute>) -> Vec<ConntrackAttribute> {
    let names = |attribute: &ConntrackAttribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(_) => true,
        ConntrackAttribute::Other(other) => other.kind() == ID,
        _ => false,
    };
    attributes.into_iter().filter(names).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netlink_packet_core::{DefaultNla, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};

    use super::*;

    const HOST: Target = (Ipv4Addr::new(192, 0, 2, 1), 53);
    const CLIENT: Target = (Ipv4Addr::new(192, 0, 2, 9), 4000);
    const LIVE: Target = (Ipv4Addr::new(172, 30, 0, 2), 53);
    const GONE: Target = (Ipv4Addr::new(172, 30, 0, 3), 53);

    fn flow(answering: Target, replied: bool) -> Flow {
        let way = |source, destination| Way { source, destination, protocol: Protocol::Udp };
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
        tcp.original.protocol = Protocol::Tcp;
        assert!(!tcp.is_stray(&ports), "it ends by itself");
        assert!(!flow(GONE, true).is_stray(&BTreeMap::from([(54, BTreeSet::new())])));
    }

    #[test]
    fn a_flow_is_read_as_the_kernel_tells_it() {
        let tuple = |source: Target, destination: Target| {
            let addresses =
                vec![IPTuple::SourceAddress(source.0.into()), IPTuple::DestinationAddress(destination.0.into())];
            let ports = [ProtoTuple::SourcePort(source.1), ProtoTuple::DestinationPort(destination.1)];
            let protocol = [&[ProtoTuple::Protocol(Protocol::Udp)][..], &ports].concat();
            vec![Tuple::Ip(addresses), Tuple::Proto(protocol)]
        };
        let message = of_ipv4(ConntrackMessage::New(vec![
            ConntrackAttribute::CtaTupleOrig(tuple(CLIENT, HOST)),
            ConntrackAttribute::CtaTupleReply(tuple(GONE, CLIENT)),
            ConntrackAttribute::CtaStatus(Status::SeenReply | Status::DstNat),
            ConntrackAttribute::Other(DefaultNla::new(ID, vec![0, 0, 0, 7])),
        ]));
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let mut header = NetlinkHeader::default();
        header.message_type = message.message_type();
        let heard = NetfilterMessage::deserialize(&header, &bytes).expect("readable");
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = heard.inner else { panic!("a flow") };
        assert_eq!(Flow::read(&attributes), Some(flow(GONE, true)));
        assert_eq!(Flow::read(&attributes[..2]), None, "what is not told is not guessed");
        let named = identity(attributes);
        let kinds: Vec<u16> = named.iter().map(Nla::kind).collect();
        assert_eq!(kinds, [1, ID], "the way that it began with, and its number");
    }
}
