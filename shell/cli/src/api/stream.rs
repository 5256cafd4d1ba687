//! Answers that come in pieces: raw bytes, frames of two outputs, JSON documents.

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::failure::Failure;
use crate::value::Value;

/// Largest frame or document of a stream.
const MAX_PIECE_BYTES: usize = 64 << 20;
/// Stream (1), three zeros, length (4, most significant first).
const FRAME_HEAD_BYTES: usize = 8;

/// The body of an answer.
pub struct Pieces(Incoming);

impl Pieces {
    pub fn new(answer: Response<Incoming>) -> Self {
        Self(answer.into_body())
    }

    /// The next piece, `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.0.frame().await {
            let frame = frame.map_err(|error| Failure::new(format!("reading the answer: {error}")))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// Where a frame belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Output,
    Error,
    /// The daemon's own words about the stream.
    System,
}

/// Takes interleaved outputs apart.
#[derive(Default)]
pub struct Demultiplexer(Vec<u8>);

impl Demultiplexer {
    /// Whole frames of what came so far.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<(Channel, Vec<u8>)>, Failure> {
        self.0.extend_from_slice(piece);
        let mut frames = Vec::new();
        while self.0.len() >= FRAME_HEAD_BYTES {
            let channel = match self.0[0] {
                0 | 1 => Channel::Output,
                2 => Channel::Error,
                3 => Channel::System,
                other => return Err(Failure::new(format!("Unrecognized input header: {other}"))),
            };
            let length = u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]]) as usize;
            if length > MAX_PIECE_BYTES {
                return Err(Failure::new(format!("a frame of {length} bytes is larger than the limit")));
            }
            if self.0.len() < FRAME_HEAD_BYTES + length {
                break;
            }
            let rest = self.0.split_off(FRAME_HEAD_BYTES + length);
            let frame = std::mem::replace(&mut self.0, rest);
            frames.push((channel, frame[FRAME_HEAD_BYTES..].to_vec()));
        }
        Ok(frames)
    }
}

/// JSON documents, one after the other.
pub struct JsonStream {
    pieces: Pieces,
    buffer: Vec<u8>,
}

impl JsonStream {
    pub fn new(pieces: Pieces) -> Self {
        Self { pieces, buffer: Vec::new() }
    }

    /// The next document, `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            let mut documents = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<Value>();
            match documents.next() {
                Some(Ok(document)) => {
                    let read = documents.byte_offset();
                    self.buffer.drain(..read);
                    return Ok(Some(document));
                }
                Some(Err(error)) if !error.is_eof() => {
                    return Err(Failure::new(format!("the daemon's answer is no JSON: {error}")));
                }
                _ => {}
            }
            if self.buffer.len() > MAX_PIECE_BYTES {
                return Err(Failure::new("a document of the answer is larger than the limit"));
            }
            match self.pieces.next().await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_frames_apart_wherever_they_are_cut() {
        let bytes = [&[1, 0, 0, 0, 0, 0, 0, 3][..], b"out", &[2, 0, 0, 0, 0, 0, 0, 2], b"er"].concat();
        for cut in 0..bytes.len() {
            let mut demultiplexer = Demultiplexer::default();
            let mut frames = demultiplexer.feed(&bytes[..cut]).unwrap();
            frames.extend(demultiplexer.feed(&bytes[cut..]).unwrap());
            assert_eq!(frames, [(Channel::Output, b"out".to_vec()), (Channel::Error, b"er".to_vec())]);
        }
        assert!(Demultiplexer::default().feed(&[9; 8]).is_err());
    }
}
