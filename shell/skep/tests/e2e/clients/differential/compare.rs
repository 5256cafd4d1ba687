//! Two answers side by side: what must differ between two daemons is made the same, what then still differs is named.

use serde_json::Value;

/// Numbers and texts that tell nothing but the moment, or who made them: only their kind is compared.
const VOLATILE: [&str; 17] = [
    "CertIssuerPublicKey",
    "CertIssuerSubject",
    "ContainerID",
    "Containers",
    "ContainersRunning",
    "ContainersStopped",
    "Index",
    "Manager",
    "NEventsListener",
    "NFd",
    "NGoroutines",
    "PID",
    "TrustRoot",
    "UnlockKey",
    "Worker",
    "time",
    "timeNano",
];

/// A daemon's own words for itself.
pub struct Names {
    pub address: String,
    pub hostname: String,
}

/// Makes ids, times, addresses and the like the same for both, and puts lists of objects in one order.
pub fn plain(value: &mut Value, names: &Names) {
    match value {
        Value::String(text) => *text = plain_text(text, names),
        Value::Array(list) => {
            list.iter_mut().for_each(|item| plain(item, names));
            if list.iter().all(Value::is_object) {
                list.sort_by_cached_key(order);
            }
        }
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                if VOLATILE.contains(&key.as_str()) && (item.is_number() || item.is_string()) {
                    *item = Value::from(if item.is_number() { "a number" } else { "a text" });
                } else {
                    plain(item, names);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn order(item: &Value) -> (String, u64, String) {
    let name = item.pointer("/Spec/Name").or_else(|| item.get("Name")).and_then(Value::as_str).unwrap_or_default();
    let slot = item.get("Slot").and_then(Value::as_u64).unwrap_or_default();
    (name.to_owned(), slot, item.to_string())
}

/// Words of letters and digits are looked at one by one.
fn plain_text(text: &str, names: &Names) -> String {
    let text = text.replace(&names.address, "ADDRESS");
    if is_time(&text) {
        return "TIME".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let length = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if length == 0 {
            let letter = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..letter]);
            rest = &rest[letter..];
            continue;
        }
        let word = &rest[..length];
        out.push_str(if is_id(word) {
            "ID"
        } else if word == names.hostname {
            "HOSTNAME"
        } else {
            word
        });
        rest = &rest[length..];
    }
    out
}

/// Of an object of the swarm, or of something local.
fn is_id(word: &str) -> bool {
    let swarm = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    (word.len() == 25 && word.chars().all(swarm))
        || (word.len() == 64 && word.chars().all(|letter| letter.is_ascii_hexdigit()))
}

fn is_time(text: &str) -> bool {
    let shape = text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter });
    text.len() >= 20 && shape.take(19).eq("0000-00-00T00:00:00".chars()) && !text.starts_with("0001-")
}

/// One thing that differs: where, and how.
pub struct Difference {
    pub at: String,
    pub how: String,
}

/// Everything in which two values differ, by its path.
pub fn differences(at: &str, docker: &Value, skep: &Value, found: &mut Vec<Difference>) {
    match (docker, skep) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let at = format!("{at}.{key}");
                match (left.get(key), right.get(key)) {
                    (Some(left), Some(right)) => differences(&at, left, right, found),
                    (Some(left), None) => found.push(Difference { at, how: format!("only docker has it: {left}") }),
                    (None, Some(right)) => found.push(Difference { at, how: format!("only skep has it: {right}") }),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                let how = format!("docker has {}, skep {}: {docker} / {skep}", left.len(), right.len());
                found.push(Difference { at: format!("{at}[]"), how });
                return;
            }
            for (number, (left, right)) in left.iter().zip(right).enumerate() {
                differences(&format!("{at}[{number}]"), left, right, found);
            }
        }
        (left, right) if left != right => {
            found.push(Difference { at: at.to_owned(), how: format!("docker {left}, skep {right}") });
        }
        _ => {}
    }
}
