//! How messages travel: decoded, which is fast, or through the real codec, as a share of the seeds has it.

use prost::Message;
use skep_consensus::PeerMessage;
use skep_dispatch::worker::Input;
use skep_model::pb::messages as m;

use crate::world::calls::Body;

/// How messages travel in one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Codec {
    /// As they are.
    #[default]
    Decoded,
    /// Encoded and decoded again, as over a socket.
    Encoded,
}

impl Codec {
    /// A message between managers.
    pub(crate) fn raft(self, message: PeerMessage) -> PeerMessage {
        match self {
            Self::Decoded => message,
            // What we encoded ourselves can be read; if not, that is a find.
            Self::Encoded => PeerMessage::decode(&message.encode()).expect("a message of ours can be read"),
        }
    }

    /// What is asked of a manager.
    pub(crate) fn body(self, body: Body) -> Body {
        if self == Self::Decoded {
            return body;
        }
        match body {
            Body::Session { request } => Body::Session { request: again(&request) },
            Body::Assignments { opening, request } => Body::Assignments { opening, request: again(&request) },
            Body::Heartbeat { request } => Body::Heartbeat { request: again(&request) },
            Body::Status { request } => Body::Status { request: again(&request) },
            Body::Issue { renews, request } => Body::Issue { renews, request: again(&request) },
            Body::CertificateStatus { request } => Body::CertificateStatus { request: again(&request) },
            other => other,
        }
    }

    /// What a worker is told.
    pub(crate) fn input(self, input: Input) -> Input {
        if self == Self::Decoded {
            return input;
        }
        match input {
            Input::Session { attempt, message } => {
                let message: m::SessionMessage = again(&*message);
                Input::Session { attempt, message: Box::new(message) }
            }
            Input::Assignments { attempt, opening, message } => {
                Input::Assignments { attempt, opening, message: again(&message) }
            }
            Input::HeartbeatReply { attempt, response } => {
                Input::HeartbeatReply { attempt, response: again(&response) }
            }
            other => other,
        }
    }
}

fn again<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("a message of ours can be read")
}
