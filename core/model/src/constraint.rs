//! The placement constraint language, used where specs are checked and where nodes are chosen.
//!
//! Docker's grammar (interop §7.7): `key==value` and `key!=value`. Beyond it, in strings that clients pass through:
//! sets (`node.labels.zone in (a, b)`, `… not in (…)`) and affinity between services (`service==cache`,
//! `service!=db`). `is_extension` tells them apart, because a manager that is not ours would ignore or refuse them.

use core::net::IpAddr;

use crate::objects::Node;
use crate::pb::types::{NodeRole, Platform};

/// Before the name of a node's label; the prefix itself is case-insensitive, the name is not.
pub const NODE_LABEL_PREFIX: &str = "node.labels.";
/// Before the name of an engine's label.
pub const ENGINE_LABEL_PREFIX: &str = "engine.labels.";

/// A constraint that cannot be understood. The first three texts are Docker's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConstraintError {
    /// Neither `==` nor `!=` (nor a set) in it.
    #[error("constraint expected one operator from ==, !=")]
    NoOperator,
    /// The left side is not `[a-z_][a-z0-9-_.]+`.
    #[error("key '{0}' is invalid")]
    Key(String),
    /// The right side is empty or holds characters outside the grammar.
    #[error("value '{0}' is invalid")]
    Value(String),
    /// `in` without a list in parentheses, or with an empty one.
    #[error("set '{0}' is invalid: write it as (a, b, c)")]
    Set(String),
}

/// Whether the value must or must not match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    /// `==` or `in`.
    Equal,
    /// `!=` or `not in`.
    NotEqual,
}

/// What of a node is compared.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Key {
    Id,
    Hostname,
    Ip,
    Role,
    Os,
    Architecture,
    NodeLabel(String),
    EngineLabel(String),
    Service,
    /// Accepted by the grammar, fulfilled by no node.
    Unknown,
}

/// One parsed constraint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Constraint {
    key: Key,
    operator: Operator,
    /// Never empty; one value, except for sets.
    values: Vec<String>,
    extension: bool,
}

/// Parses a whole list; the first error wins.
pub fn parse(texts: &[String]) -> Result<Vec<Constraint>, ConstraintError> {
    texts.iter().map(|text| Constraint::parse(text)).collect()
}

/// Whether the node satisfies every constraint that speaks of the node alone (affinities are the scheduler's).
pub fn node_matches(constraints: &[Constraint], node: &Node) -> bool {
    constraints.iter().filter(|constraint| constraint.affinity().is_none()).all(|constraint| constraint.matches(node))
}

impl Constraint {
    /// Parses one constraint.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        if let Some((key, value)) = text.split_once("==") {
            Self::comparison(key, Operator::Equal, value)
        } else if let Some((key, value)) = text.split_once("!=") {
            Self::comparison(key, Operator::NotEqual, value)
        } else {
            Self::set(text)
        }
    }

    fn comparison(key: &str, operator: Operator, value: &str) -> Result<Self, ConstraintError> {
        let key = parse_key(key)?;
        let extension = key == Key::Service;
        Ok(Self { key, operator, values: vec![parse_value(value)?], extension })
    }

    /// `key in (a, b)` or `key not in (a, b)`.
    fn set(text: &str) -> Result<Self, ConstraintError> {
        let mut words = text.trim().splitn(2, char::is_whitespace);
        let key = words.next().unwrap_or_default();
        let rest = words.next().ok_or(ConstraintError::NoOperator)?.trim_start();
        let (operator, list) = if let Some(list) = rest.strip_prefix("in") {
            (Operator::Equal, list)
        } else if let Some(list) = rest.strip_prefix("not").and_then(|rest| rest.trim_start().strip_prefix("in")) {
            (Operator::NotEqual, list)
        } else {
            return Err(ConstraintError::NoOperator);
        };
        let list = list.trim();
        let inner = list.strip_prefix('(').and_then(|list| list.strip_suffix(')'));
        let inner = inner.ok_or_else(|| ConstraintError::Set(list.to_owned()))?;
        let values = inner.split(',').map(parse_value).collect::<Result<Vec<_>, _>>();
        let values = values.map_err(|_| ConstraintError::Set(list.to_owned()))?;
        Ok(Self { key: parse_key(key)?, operator, values, extension: true })
    }

    /// Whether Docker's grammar lacks it (decision: refused while any manager is not ours).
    pub fn is_extension(&self) -> bool {
        self.extension
    }

    /// For `service==name` and its kin: the operator and the services' names or ids.
    pub fn affinity(&self) -> Option<(Operator, &[String])> {
        (self.key == Key::Service).then_some((self.operator, self.values.as_slice()))
    }

    /// Whether the node satisfies it. An affinity never matches here: it is not about the node alone.
    pub fn matches(&self, node: &Node) -> bool {
        let description = node.description.as_deref();
        let platform = description.and_then(|description| description.platform.as_ref());
        match &self.key {
            Key::Id => self.compare(node.id.as_str()),
            Key::Hostname => self.compare(node.hostname()),
            Key::Ip => self.compare_ip(&node.status.addr),
            Key::Role => self.compare(role_word(node.role)),
            Key::Os => self.compare(platform.map_or("", |platform| &platform.os)),
            Key::Architecture => {
                let actual = canonical_architecture(platform.map_or("", |platform| &platform.architecture));
                self.verdict(self.values.iter().any(|value| canonical_architecture(value).eq_ignore_ascii_case(actual)))
            }
            Key::NodeLabel(_) | Key::EngineLabel(_) => self.compare(self.label_of(node)),
            Key::Service | Key::Unknown => false,
        }
    }

    fn label_of<'a>(&self, node: &'a Node) -> &'a str {
        match &self.key {
            Key::NodeLabel(name) => node_label(node, name),
            Key::EngineLabel(name) => engine_label(node, name),
            _ => "",
        }
    }

    fn compare(&self, actual: &str) -> bool {
        self.verdict(self.values.iter().any(|value| value.eq_ignore_ascii_case(actual)))
    }

    /// An address or a network that cannot be read is fulfilled by no node, whatever the operator.
    fn compare_ip(&self, address: &str) -> bool {
        let actual = address.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let mut found = false;
        for value in &self.values {
            let Some((network, bits)) = parse_network(value) else { return false };
            found |= actual.is_some_and(|actual| contains(network, bits, actual));
        }
        self.verdict(found)
    }

    fn verdict(&self, found: bool) -> bool {
        match self.operator {
            Operator::Equal => found,
            Operator::NotEqual => !found,
        }
    }
}

/// The value of a spread descriptor (`node.labels.x`, `engine.labels.x`) on a node; `None` when it is neither.
pub fn spread_value<'a>(descriptor: &str, node: &'a Node) -> Option<&'a str> {
    if let Some(name) = strip_prefix_ignoring_case(descriptor, NODE_LABEL_PREFIX) {
        return Some(node_label(node, name));
    }
    strip_prefix_ignoring_case(descriptor, ENGINE_LABEL_PREFIX).map(|name| engine_label(node, name))
}

/// Whether the node runs one of the platforms; an empty list and an empty field fit everywhere.
pub fn platforms_fit(platforms: &[Platform], node: &Node) -> bool {
    if platforms.is_empty() {
        return true;
    }
    let Some(actual) = node.description.as_ref().and_then(|description| description.platform.as_ref()) else {
        return false;
    };
    platforms.iter().any(|wanted| {
        let architecture = canonical_architecture(&wanted.architecture);
        (architecture.is_empty() || architecture == canonical_architecture(&actual.architecture))
            && (wanted.os.is_empty() || wanted.os == actual.os)
    })
}

fn canonical_architecture(name: &str) -> &str {
    if name.eq_ignore_ascii_case("x86_64") {
        "amd64"
    } else if name.eq_ignore_ascii_case("aarch64") {
        "arm64"
    } else {
        name
    }
}

fn node_label<'a>(node: &'a Node, name: &str) -> &'a str {
    let annotations = node.spec.annotations.as_ref();
    annotations.and_then(|annotations| annotations.labels.get(name)).map_or("", String::as_str)
}

fn engine_label<'a>(node: &'a Node, name: &str) -> &'a str {
    let engine = node.description.as_ref().and_then(|description| description.engine.as_ref());
    engine.and_then(|engine| engine.labels.get(name)).map_or("", String::as_str)
}

fn role_word(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Manager => "manager",
        NodeRole::Worker => "worker",
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    (head.eq_ignore_ascii_case(prefix) && text.len() > prefix.len()).then(|| &text[prefix.len()..])
}

fn parse_key(text: &str) -> Result<Key, ConstraintError> {
    let text = text.trim();
    let mut bytes = text.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let goes_on_well = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !starts_well || !goes_on_well || text.len() < 2 {
        return Err(ConstraintError::Key(text.to_owned()));
    }
    if let Some(name) = strip_prefix_ignoring_case(text, NODE_LABEL_PREFIX) {
        return Ok(Key::NodeLabel(name.to_owned()));
    }
    if let Some(name) = strip_prefix_ignoring_case(text, ENGINE_LABEL_PREFIX) {
        return Ok(Key::EngineLabel(name.to_owned()));
    }
    Ok(match text.to_ascii_lowercase().as_str() {
        "node.id" => Key::Id,
        "node.hostname" => Key::Hostname,
        "node.ip" => Key::Ip,
        "node.role" => Key::Role,
        "node.platform.os" => Key::Os,
        "node.platform.arch" => Key::Architecture,
        "service" => Key::Service,
        _ => Key::Unknown,
    })
}

fn parse_value(text: &str) -> Result<String, ConstraintError> {
    let text = text.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_ \t\n\x0c\r.*()?+[]\\^$|/".contains(&byte);
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(ConstraintError::Value(text.to_owned()));
    }
    Ok(text.to_owned())
}

/// An address (as a network of its full length) or `address/bits`.
fn parse_network(text: &str) -> Option<(IpAddr, u32)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let address = address.to_canonical();
        return Some((address, full_length(address)));
    }
    let (address, bits) = text.split_once('/')?;
    let address = address.parse::<IpAddr>().ok()?;
    let bits = bits.parse::<u32>().ok()?;
    (bits <= full_length(address)).then_some((address, bits))
}

fn full_length(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn contains(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    let (network, address, length) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u128::from(network.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    let host_bits = length - bits;
    host_bits >= 128 || network >> host_bits == address >> host_bits
}

#[cfg(test)]
mod tests;
