//! Docker's multiplexed stream: one byte for the source, three of zero, four for the length, then the bytes.

use bytes::{BufMut, Bytes, BytesMut};
use skep_model::engine::LogStream;

/// Media type of multiplexed streams, told since API 1.42.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// Media type of raw streams, and of all streams before API 1.42.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdout,
    Stderr,
    /// An error of ours in the middle of a stream.
    SystemError,
}

impl From<LogStream> for Source {
    fn from(stream: LogStream) -> Self {
        match stream {
            LogStream::Stdout => Self::Stdout,
            LogStream::Stderr => Self::Stderr,
        }
    }
}

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// With frames.
    Multiplexed,
    /// As they are: with a terminal there is one stream only.
    Raw,
}

impl Packing {
    pub(crate) fn of_terminal(tty: bool) -> Self {
        if tty { Self::Raw } else { Self::Multiplexed }
    }

    /// The media type that a client of this version expects.
    pub(crate) fn media_type(self, version: crate::version::ApiVersion) -> &'static str {
        if self == Self::Multiplexed && version.0 >= 42 { MULTIPLEXED } else { RAW }
    }

    pub(crate) fn pack(self, source: Source, data: &[u8]) -> Bytes {
        if self == Self::Raw {
            return Bytes::copy_from_slice(data);
        }
        let mut frame = BytesMut::with_capacity(8 + data.len());
        frame.put_u8(match source {
            Source::Stdout => 1,
            Source::Stderr => 2,
            Source::SystemError => 3,
        });
        frame.put_bytes(0, 3);
        frame.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
        frame.put_slice(data);
        frame.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_source_and_length() {
        let frame = Packing::Multiplexed.pack(Source::Stderr, b"hello\n");
        assert_eq!(&frame[..], b"\x02\0\0\0\0\0\0\x06hello\n");
        assert_eq!(&Packing::Raw.pack(Source::Stdout, b"x")[..], b"x");
    }
}
