//! What transport reads of an `eraftpb.Message`, and cutting snapshots into pieces.

use bytes::Bytes;
use prost::Message;
use skep_model::{Code, RaftId, Refusal};

use crate::backend::{RaftKind, RaftMessage};

/// Largest request that a Docker manager accepts; a piece of a snapshot fills at most this, its frame included.
pub const PIECE_BYTES_MAX: usize = 4 << 20;
/// Largest snapshot taken in.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// `MessageType` numbers of etcd's raft that are treated apart.
const PROPOSAL: i32 = 2;
const VOTE: i32 = 5;
const SNAPSHOT: i32 = 7;
const PRE_VOTE: i32 = 17;

/// The head of a message.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "6")]
    index: u64,
}

/// A whole message, its parts left encoded.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "4")]
    term: u64,
    #[prost(uint64, tag = "5")]
    log_term: u64,
    #[prost(uint64, tag = "6")]
    index: u64,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    entries: Vec<Bytes>,
    #[prost(uint64, tag = "8")]
    commit: u64,
    #[prost(message, optional, tag = "9")]
    snapshot: Option<Snapshot>,
    #[prost(bool, tag = "10")]
    reject: bool,
    #[prost(uint64, tag = "11")]
    reject_hint: u64,
    #[prost(bytes = "bytes", tag = "12")]
    context: Bytes,
    #[prost(uint64, tag = "13")]
    request_snapshot: u64,
    #[prost(uint64, tag = "15")]
    commit_term: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
    #[prost(bytes = "bytes", optional, tag = "2")]
    metadata: Option<Bytes>,
}

/// Reads the head of an encoded message.
pub(crate) fn read_message(bytes: Bytes) -> Result<RaftMessage, Refusal> {
    let head = Head::decode(bytes.clone()).map_err(malformed)?;
    let kind = match head.kind {
        PROPOSAL => RaftKind::Proposal,
        VOTE | PRE_VOTE => RaftKind::Vote,
        SNAPSHOT => RaftKind::Snapshot,
        _ => RaftKind::Other,
    };
    Ok(RaftMessage { to: RaftId(head.to), from: RaftId(head.from), kind, index: head.index, bytes })
}

/// Cuts a snapshot that no single request may carry; every piece repeats the whole message around its part of the
/// data. Any other message stays whole.
pub(super) fn split_snapshot(message: &RaftMessage) -> Result<Vec<Bytes>, Refusal> {
    // What a request adds around a message: its field's key and length.
    const REQUEST_OVERHEAD: usize = 16;
    if message.kind != RaftKind::Snapshot || message.bytes.len() + REQUEST_OVERHEAD <= PIECE_BYTES_MAX {
        return Ok(vec![message.bytes.clone()]);
    }
    let mut envelope = Envelope::decode(message.bytes.clone()).map_err(malformed)?;
    let snapshot = envelope.snapshot.as_mut().ok_or_else(|| Refusal::invalid("a snapshot message without one"))?;
    let data = std::mem::take(&mut snapshot.data);
    let around = envelope.encoded_len() + 2 * REQUEST_OVERHEAD;
    let step = PIECE_BYTES_MAX.checked_sub(around).filter(|step| *step > 0);
    let step = step.ok_or_else(|| Refusal::invalid("a snapshot message too large beside its data"))?;
    let mut pieces = Vec::with_capacity(data.len() / step + 1);
    for start in (0..data.len()).step_by(step) {
        if let Some(snapshot) = envelope.snapshot.as_mut() {
            snapshot.data = data.slice(start..data.len().min(start + step));
        }
        pieces.push(Bytes::from(envelope.encode_to_vec()));
    }
    Ok(pieces)
}

/// Puts the pieces of a snapshot together again. They must all be of the same one.
pub(crate) fn join_snapshot(first: Bytes, rest: Vec<Bytes>) -> Result<Bytes, Refusal> {
    let mut whole = Envelope::decode(first).map_err(malformed)?;
    let (kind, index) = (whole.kind, whole.index);
    let base = whole.snapshot.as_mut().filter(|_| kind == SNAPSHOT);
    let base = base.ok_or_else(|| Refusal::invalid("only a snapshot may come in pieces"))?;
    let mut data = base.data.to_vec();
    for piece in rest {
        let piece = Envelope::decode(piece).map_err(malformed)?;
        if piece.kind != SNAPSHOT || piece.index != index {
            return Err(Refusal::invalid("a piece of another message in the stream of a snapshot"));
        }
        data.extend_from_slice(&piece.snapshot.unwrap_or_default().data);
    }
    base.data = data.into();
    Ok(whole.encode_to_vec().into())
}

fn malformed(error: prost::DecodeError) -> Refusal {
    Refusal::new(Code::InvalidArgument, format!("not a raft message: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(size: usize) -> (RaftMessage, Bytes) {
        let data: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        let envelope = Envelope {
            kind: SNAPSHOT,
            to: 2,
            from: 1,
            term: 7,
            index: 9,
            snapshot: Some(Snapshot { data: data.into(), metadata: Some(Bytes::from_static(b"\x10\x09\x18\x07")) }),
            ..Default::default()
        };
        let bytes = Bytes::from(envelope.encode_to_vec());
        (read_message(bytes.clone()).expect("just encoded"), bytes)
    }

    #[test]
    fn a_large_snapshot_travels_in_pieces_that_fit_and_join_to_the_same_bytes() {
        let (message, bytes) = snapshot(9 << 20);
        let mut pieces = split_snapshot(&message).expect("splits");
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.len() + 16 <= PIECE_BYTES_MAX));
        let first = pieces.remove(0);
        assert_eq!(join_snapshot(first, pieces).expect("joins"), bytes);
    }

    #[test]
    fn a_small_snapshot_stays_whole() {
        let (message, bytes) = snapshot(1 << 20);
        assert_eq!(split_snapshot(&message).expect("stays"), vec![bytes]);
    }

    #[test]
    fn a_piece_of_another_snapshot_is_refused() {
        let (_, first) = snapshot(10);
        let mut other = Envelope::decode(first.clone()).expect("decodes");
        other.index = 10;
        let refusal = join_snapshot(first, vec![other.encode_to_vec().into()]).expect_err("another index");
        assert_eq!(refusal.code, Code::InvalidArgument);
    }

    #[test]
    fn garbage_is_refused() {
        assert_eq!(read_message(Bytes::from_static(&[0xff; 9])).expect_err("garbage").code, Code::InvalidArgument);
    }
}
