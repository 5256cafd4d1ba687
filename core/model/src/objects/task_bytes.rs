//! A task's encoding, written straight from the task: tasks are most of every snapshot and of many log entries, and
//! `Kept<pb::Task>` would be a copy of each of them.

use std::borrow::Cow;

use bytes::BufMut;
use prost::encoding::{self, WireType};
use prost::{Message, length_delimiter_len};

use super::task::{Task, TaskAnnotations};
use super::version;
use crate::ids::{NodeId, ServiceId};
use crate::pb::objects as pb;

/// Bytes of the key of a field below 16.
const KEY_BYTES: usize = 1;

impl Task {
    /// Bytes of its encoding, without making it.
    pub fn encoded_len(&self) -> usize {
        let text = |length: usize| if length == 0 { 0 } else { delimited(KEY_BYTES, length) };
        let number = |number: u64| if number == 0 { 0 } else { KEY_BYTES + encoding::encoded_len_varint(number) };
        let meta: pb::Meta = self.meta.into();
        text(self.id.text_len())
            + delimited(KEY_BYTES, meta.encoded_len())
            + delimited(KEY_BYTES, self.spec.bytes().len())
            + text(self.service_id.as_ref().map_or(0, ServiceId::text_len))
            + number(self.slot)
            + text(self.node_id.as_ref().map_or(0, NodeId::text_len))
            + delimited(KEY_BYTES, self.annotations_len())
            + delimited(KEY_BYTES, self.service_annotations.encoded_len())
            + delimited(KEY_BYTES, self.status.encoded_len())
            + number(u64::from(self.desired_state as u32))
            + encoding::message::encoded_len_repeated(11, &self.networks)
            + self.endpoint.as_ref().map_or(0, |endpoint| delimited(KEY_BYTES, endpoint.encoded_len()))
            + self.log_driver.as_ref().map_or(0, |driver| delimited(KEY_BYTES, driver.encoded_len()))
            + self.spec_version.map_or(0, |index| delimited(KEY_BYTES, version(index).encoded_len()))
            + encoding::message::encoded_len_repeated(15, &self.extras.assigned_generic_resources)
            + self.extras.job_iteration.map_or(0, |index| delimited(2, version(index).encoded_len()))
            + encoding::message::encoded_len_repeated(17, &self.extras.volumes)
            + self.extras.unknown.len()
    }

    /// Writes its encoding: that of `Kept<pb::Task>`.
    pub fn encode(&self, out: &mut impl BufMut) {
        let meta: pb::Meta = self.meta.into();
        text(1, self.id.as_str(), out);
        encoding::message::encode(2, &meta, out);
        encoding::message::encode(3, &self.spec, out);
        text(4, self.service_text(), out);
        if self.slot != 0 {
            encoding::uint64::encode(5, &self.slot, out);
        }
        text(6, self.node_text(), out);
        self.encode_annotations(out);
        encoding::message::encode(8, &self.service_annotations, out);
        encoding::message::encode(9, &self.status, out);
        if self.desired_state as i32 != 0 {
            encoding::int32::encode(10, &(self.desired_state as i32), out);
        }
        encoding::message::encode_repeated(11, &self.networks, out);
        if let Some(endpoint) = &self.endpoint {
            encoding::message::encode(12, endpoint, out);
        }
        if let Some(driver) = &self.log_driver {
            encoding::message::encode(13, driver, out);
        }
        if let Some(index) = self.spec_version {
            encoding::message::encode(14, &version(index), out);
        }
        encoding::message::encode_repeated(15, &self.extras.assigned_generic_resources, out);
        if let Some(index) = self.extras.job_iteration {
            encoding::message::encode(16, &version(index), out);
        }
        encoding::message::encode_repeated(17, &self.extras.volumes, out);
        out.put_slice(&self.extras.unknown);
    }

    fn service_text(&self) -> &str {
        self.service_id.as_ref().map(ServiceId::as_str).unwrap_or_default()
    }

    fn node_text(&self) -> &str {
        self.node_id.as_ref().map(NodeId::as_str).unwrap_or_default()
    }

    /// What stands between the service and the task in its usual name (see [`super::task_name`]).
    fn place_text(&self) -> Cow<'_, str> {
        match &self.node_id {
            Some(node) if self.slot == 0 => Cow::Borrowed(node.as_str()),
            _ => Cow::Owned(self.slot.to_string()),
        }
    }

    /// Bytes of that.
    fn place_len(&self) -> usize {
        match &self.node_id {
            Some(node) if self.slot == 0 => node.text_len(),
            _ => self.slot.checked_ilog10().map_or(1, |tens| tens as usize + 1),
        }
    }

    fn usual_name_len(&self) -> usize {
        self.service_annotations.name.len() + 1 + self.place_len() + 1 + self.id.text_len()
    }

    fn annotations_len(&self) -> usize {
        match &self.annotations {
            TaskAnnotations::Written(written) => written.encoded_len(),
            TaskAnnotations::Usual => delimited(KEY_BYTES, self.usual_name_len()),
        }
    }

    fn encode_annotations(&self, out: &mut impl BufMut) {
        if let TaskAnnotations::Written(written) = &self.annotations {
            return encoding::message::encode(7, written, out);
        }
        let place = self.place_text();
        let name = self.usual_name_len();
        encoding::encode_key(7, WireType::LengthDelimited, out);
        encoding::encode_varint(delimited(KEY_BYTES, name) as u64, out);
        encoding::encode_key(1, WireType::LengthDelimited, out);
        encoding::encode_varint(name as u64, out);
        for part in [&self.service_annotations.name, ".", &*place, ".", self.id.as_str()] {
            out.put_slice(part.as_bytes());
        }
    }
}

fn text(tag: u32, text: &str, out: &mut impl BufMut) {
    if !text.is_empty() {
        encoding::encode_key(tag, WireType::LengthDelimited, out);
        encoding::encode_varint(text.len() as u64, out);
        out.put_slice(text.as_bytes());
    }
}

/// Bytes of a field that carries its length: key, length, body.
fn delimited(key_bytes: usize, body: usize) -> usize {
    key_bytes + length_delimiter_len(body) + body
}
