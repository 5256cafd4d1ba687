//! A message that many objects carry alike, held once: networks, endpoints and annotations inside of tasks.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType};

use crate::pb::{networks, objects, types};

/// A message whose default needs no allocation.
pub trait Blank: Clone + Default + 'static {
    /// The default.
    fn blank() -> &'static Self;
}

impl Blank for types::Annotations {
    fn blank() -> &'static Self {
        static BLANK: types::Annotations =
            types::Annotations { name: String::new(), labels: std::collections::BTreeMap::new(), indices: Vec::new() };
        &BLANK
    }
}

impl Blank for objects::Endpoint {
    fn blank() -> &'static Self {
        static BLANK: objects::Endpoint = objects::Endpoint { spec: None, ports: Vec::new(), virtual_ips: Vec::new() };
        &BLANK
    }
}

impl Blank for types::Driver {
    fn blank() -> &'static Self {
        static BLANK: types::Driver = types::Driver { name: String::new(), options: std::collections::BTreeMap::new() };
        &BLANK
    }
}

impl Blank for networks::Network {
    fn blank() -> &'static Self {
        static BLANK: networks::Network = networks::Network {
            id: String::new(),
            meta: None,
            spec: None,
            driver_state: None,
            ipam: None,
            pending_delete: false,
            extra: None,
        };
        &BLANK
    }
}

/// A shared, immutable message. A clone is the same allocation; equality is equality of messages.
pub struct Shared<T>(Option<Arc<T>>);

impl<T: Blank> Shared<T> {
    /// Shares a message from now on.
    pub fn new(value: T) -> Self {
        Self(Some(Arc::new(value)))
    }

    /// How many share the allocation.
    pub(crate) fn holders(&self) -> usize {
        self.0.as_ref().map_or(0, Arc::strong_count)
    }

    /// Whether two values share one allocation.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(left), Some(right)) => Arc::ptr_eq(left, right),
            (None, None) => true,
            _ => false,
        }
    }

    /// Takes the other's allocation if it holds the same message; tells whether they share one now.
    pub fn join(&mut self, other: &Self) -> bool
    where
        T: PartialEq,
    {
        let equal = self == other;
        if equal && !self.same(other) {
            self.0.clone_from(&other.0);
        }
        equal
    }

    /// A changed copy takes the message's place.
    pub fn edit(&mut self) -> &mut T {
        Arc::make_mut(self.0.get_or_insert_with(|| Arc::new(T::default())))
    }

    /// A copy of one's own.
    pub fn to_message(&self) -> T {
        (**self).clone()
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Blank> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::blank())
    }
}

impl<T: Blank> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Blank + PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.same(other) || **self == **other
    }
}

impl<T: Blank + Eq> Eq for Shared<T> {}

impl<T: Blank + std::hash::Hash> std::hash::Hash for Shared<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Blank + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

impl<T: Blank + prost::Message> prost::Message for Shared<T> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        (**self).encode_raw(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        self.edit().merge_field(tag, wire_type, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        (**self).encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
