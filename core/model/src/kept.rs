//! A decoded message together with the top-level fields that we do not know, so that they survive a rewrite.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType};

use crate::verbatim::copy_field;

/// The field numbers that a generated message knows.
pub trait KnownTags {
    /// Every field number of the schema.
    const TAGS: &'static [u32];
}

/// A message and the encoded fields of newer versions that came with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kept<T> {
    /// What we understand.
    pub value: T,
    /// Encoded fields with unknown numbers, in the order they came.
    pub unknown: Bytes,
}

impl<T> Kept<T> {
    /// A message of our own: nothing unknown.
    pub fn new(value: T) -> Self {
        Self { value, unknown: Bytes::new() }
    }
}

impl<T: prost::Message + KnownTags> prost::Message for Kept<T>
where
    T: Default,
{
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.value.encode_raw(buf);
        buf.put_slice(&self.unknown);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if T::TAGS.contains(&tag) {
            return self.value.merge_field(tag, wire_type, buf, ctx);
        }
        let mut unknown = BytesMut::from(&self.unknown[..]);
        copy_field(tag, wire_type, buf, &mut unknown)?;
        self.unknown = unknown.freeze();
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.value.encoded_len() + self.unknown.len()
    }

    fn clear(&mut self) {
        self.value.clear();
        self.unknown = Bytes::new();
    }
}
