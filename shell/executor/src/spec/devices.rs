//! Devices that every container may use (Docker's list); all others are closed.

use serde_json::{Value, json};

use crate::shim::protocol::DeviceRule;

/// (kind, major, minor, access).
const DEFAULT: [(char, Option<u32>, Option<u32>, &str); 11] = [
    // Making device nodes is allowed, using them is not.
    ('c', None, None, "m"),
    ('b', None, None, "m"),
    ('c', Some(1), Some(3), "rwm"),
    ('c', Some(1), Some(5), "rwm"),
    ('c', Some(1), Some(7), "rwm"),
    ('c', Some(1), Some(8), "rwm"),
    ('c', Some(1), Some(9), "rwm"),
    ('c', Some(5), Some(0), "rwm"),
    ('c', Some(5), Some(2), "rwm"),
    ('c', Some(136), None, "rwm"),
    // Tunnels, for containers that may make the node and configure the network.
    ('c', Some(10), Some(200), "rwm"),
];

/// For the filter on cgroup v2.
pub fn rules() -> Vec<DeviceRule> {
    let rule = |&(kind, major, minor, access): &(char, Option<u32>, Option<u32>, &str)| DeviceRule {
        kind,
        major,
        minor,
        access: access.to_owned(),
    };
    DEFAULT.iter().map(rule).collect()
}

/// For the devices cgroup (v1): first nothing, then the list.
pub fn document() -> Value {
    let mut list = vec![json!({"allow": false, "type": "a", "access": "rwm"})];
    for (kind, major, minor, access) in &DEFAULT {
        let mut rule = json!({"allow": true, "type": kind, "access": access});
        if let Some(major) = major {
            rule["major"] = json!(major);
        }
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        list.push(rule);
    }
    Value::Array(list)
}
