//! A protobuf message kept as the bytes that came, beside their decoded form, shared behind one `Arc`.
//!
//! What a user or another manager wrote comes back byte-equal: unknown fields and the presence of empty
//! sub-messages included (another engine compares specs deeply to decide whether to restart tasks).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, encode_key};

#[derive(Default)]
struct Inner<T> {
    bytes: Bytes,
    value: T,
}

/// A shared, immutable message with its exact encoding. Equality is equality of bytes.
pub struct Verbatim<T>(Arc<Inner<T>>);

impl<T: prost::Message + Default> Verbatim<T> {
    /// Encodes a message that we made ourselves.
    pub fn new(value: T) -> Self {
        let bytes = Bytes::from(value.encode_to_vec());
        Self(Arc::new(Inner { bytes, value }))
    }

    /// Decodes what came from elsewhere; the bytes are kept as they are.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let value = T::decode(bytes.clone())?;
        Ok(Self(Arc::new(Inner { bytes, value })))
    }

    /// The exact encoding.
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// A sub-message with the bytes that it has in here; `None` where the field is absent or stands there twice.
    pub fn field<U: prost::Message + Default>(&self, tag: u32) -> Option<Verbatim<U>> {
        let mut rest = self.0.bytes.clone();
        let mut found = None;
        while rest.has_remaining() {
            let field = take_field(&mut rest).ok()?;
            if field.tag == tag && found.replace(field.raw).is_some() {
                return None;
            }
        }
        let mut body = found?;
        prost::encoding::decode_key(&mut body).ok()?;
        prost::encoding::decode_varint(&mut body).ok()?;
        Verbatim::from_bytes(body).ok()
    }

    /// How many share the allocation.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Whether two values share one allocation.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A changed copy. Unknown fields of the top level are kept; those inside changed sub-messages are not.
    pub fn edit(&self, change: impl FnOnce(&mut T)) -> Self
    where
        T: Clone,
    {
        let mut value = self.0.value.clone();
        change(&mut value);
        let known = value.encode_to_vec();
        let mut bytes = BytesMut::from(known.as_slice());
        bytes.extend_from_slice(&unknown_to::<T>(&self.0.bytes));
        Self(Arc::new(Inner { bytes: bytes.freeze(), value }))
    }
}

/// The top-level fields of `bytes` that `T` drops when it decodes them.
fn unknown_to<T: prost::Message + Default>(bytes: &Bytes) -> Vec<u8> {
    let mut unknown = Vec::new();
    let mut rest = bytes.clone();
    while rest.has_remaining() {
        let Ok(field) = take_field(&mut rest) else { return unknown };
        // A field that decodes to the empty message and encodes to nothing, though it carries something, is unknown.
        let kept = T::decode(field.raw.clone()).map(|value| value.encoded_len() > 0).unwrap_or(true);
        if !kept && field.is_surely_unknown::<T>() {
            unknown.extend_from_slice(&field.raw);
        }
    }
    unknown
}

/// One field as it stood on the wire, key included.
pub(crate) struct RawField {
    pub(crate) tag: u32,
    pub(crate) raw: Bytes,
    wire_type: WireType,
}

impl RawField {
    /// Tells a known field with its default value from an unknown one: a known tag refuses a wrong wire type.
    fn is_surely_unknown<T: prost::Message + Default>(&self) -> bool {
        let wrong =
            if self.wire_type == WireType::ThirtyTwoBit { WireType::SixtyFourBit } else { WireType::ThirtyTwoBit };
        let mut probe = BytesMut::new();
        encode_key(self.tag, wrong, &mut probe);
        probe.put_bytes(0, if wrong == WireType::ThirtyTwoBit { 4 } else { 8 });
        T::decode(probe.freeze()).is_ok()
    }
}

/// Takes one whole field off `bytes`.
pub(crate) fn take_field(bytes: &mut Bytes) -> Result<RawField, DecodeError> {
    let start = bytes.clone();
    let (tag, wire_type) = prost::encoding::decode_key(bytes)?;
    prost::encoding::skip_field(wire_type, tag, bytes, DecodeContext::default())?;
    let length = start.len() - bytes.len();
    Ok(RawField { tag, wire_type, raw: start.slice(..length) })
}

/// Copies one field whose key was already read, as it stands on the wire.
pub(crate) fn copy_field(
    tag: u32,
    wire_type: WireType,
    buf: &mut impl Buf,
    out: &mut BytesMut,
) -> Result<(), DecodeError> {
    encode_key(tag, wire_type, out);
    match wire_type {
        WireType::Varint => {
            let value = prost::encoding::decode_varint(buf)?;
            prost::encoding::encode_varint(value, out);
        }
        WireType::SixtyFourBit => copy_exact(8, buf, out)?,
        WireType::ThirtyTwoBit => copy_exact(4, buf, out)?,
        WireType::LengthDelimited => {
            let length = prost::encoding::decode_varint(buf)?;
            prost::encoding::encode_varint(length, out);
            copy_exact(usize::try_from(length).unwrap_or(usize::MAX), buf, out)?;
        }
        WireType::StartGroup | WireType::EndGroup => {
            let mut nothing: &[u8] = &[];
            // Groups are not part of proto3; refuse them with prost's own error.
            prost::encoding::skip_field(WireType::LengthDelimited, tag, &mut nothing, DecodeContext::default())?;
        }
    }
    Ok(())
}

fn copy_exact(length: usize, buf: &mut impl Buf, out: &mut BytesMut) -> Result<(), DecodeError> {
    if buf.remaining() < length {
        let mut nothing: &[u8] = &[];
        prost::encoding::decode_varint(&mut nothing)?;
    }
    out.put(buf.take(length));
    Ok(())
}

impl<T: prost::Message + Default + Clone> prost::Message for Verbatim<T> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0.bytes);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let inner = match Arc::get_mut(&mut self.0) {
            Some(inner) => inner,
            None => {
                let copy = Inner { bytes: self.0.bytes.clone(), value: self.0.value.clone() };
                self.0 = Arc::new(copy);
                Arc::get_mut(&mut self.0).expect("just made, so nobody shares it")
            }
        };
        let mut bytes =
            std::mem::take(&mut inner.bytes).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let before = bytes.len();
        let merged = copy_field(tag, wire_type, buf, &mut bytes).and_then(|()| {
            let mut body = &bytes[before..];
            prost::encoding::decode_key(&mut body)?;
            inner.value.merge_field(tag, wire_type, &mut body, ctx)
        });
        if merged.is_err() {
            bytes.truncate(before);
        }
        inner.bytes = bytes.freeze();
        merged
    }

    fn encoded_len(&self) -> usize {
        self.0.bytes.len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<T> Clone for Verbatim<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for Verbatim<T> {
    fn default() -> Self {
        Self(Arc::new(Inner::default()))
    }
}

impl<T> Deref for Verbatim<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> PartialEq for Verbatim<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.bytes == other.0.bytes
    }
}

impl<T> Eq for Verbatim<T> {}

impl<T> std::hash::Hash for Verbatim<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.bytes.hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Verbatim<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(formatter)
    }
}
