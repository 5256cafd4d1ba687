//! JSON that keeps the order of its keys and everything it does not understand.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;

use crate::failure::Failure;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

static NULL: Value = Value::Null;

impl Value {
    /// Parses a document.
    pub fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(bytes).map_err(|error| Failure::new(format!("the daemon's answer is no JSON: {error}")))
    }

    /// An object.
    pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// An empty object.
    pub fn empty_map() -> Self {
        Self::Map(Vec::new())
    }

    /// The member of an object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// What lies at `A.B.C`; `Null` when there is nothing.
    pub fn at(&self, path: &str) -> &Value {
        path.split('.').try_fold(self, |value, key| value.get(key)).unwrap_or(&NULL)
    }

    /// The text at a path, or none.
    pub fn text(&self, path: &str) -> &str {
        match self.at(path) {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// The number at a path, or 0.
    pub fn int(&self, path: &str) -> i64 {
        match self.at(path) {
            Self::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).unwrap_or(0),
            _ => 0,
        }
    }

    /// The number at a path, or 0.
    pub fn uint(&self, path: &str) -> u64 {
        match self.at(path) {
            Self::Number(number) => number.as_u64().unwrap_or(0),
            _ => 0,
        }
    }

    /// The number at a path, or 0.
    pub fn float(&self, path: &str) -> f64 {
        match self.at(path) {
            Self::Number(number) => number.as_f64().unwrap_or(0.0),
            _ => 0.0,
        }
    }

    /// The truth at a path, or false.
    pub fn bool(&self, path: &str) -> bool {
        matches!(self.at(path), Self::Bool(true))
    }

    /// Whether something is there.
    pub fn has(&self, path: &str) -> bool {
        !matches!(self.at(path), Self::Null)
    }

    /// The list at a path, or nothing.
    pub fn list(&self, path: &str) -> &[Value] {
        match self.at(path) {
            Self::List(list) => list,
            _ => &[],
        }
    }

    /// The members of the object at a path, or none.
    pub fn entries(&self, path: &str) -> &[(String, Value)] {
        match self.at(path) {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The texts of the list at a path.
    pub fn texts(&self, path: &str) -> Vec<&str> {
        self.list(path).iter().filter_map(Value::as_text).collect()
    }

    /// Its own items, if it is a list.
    pub fn list_itself(&self) -> &[Value] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    /// Itself, if it is a text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The place at a path, made if need be; what is in the way and no object is replaced.
    pub fn place(&mut self, path: &str) -> &mut Value {
        let mut value = self;
        for key in path.split('.') {
            if !matches!(value, Self::Map(_)) {
                *value = Self::empty_map();
            }
            let Self::Map(entries) = value else { unreachable!("just made an object") };
            let position = entries.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
                entries.push((key.to_owned(), Value::Null));
                entries.len() - 1
            });
            value = &mut entries[position].1;
        }
        value
    }

    /// Puts something at a path.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) {
        *self.place(path) = value.into();
    }

    /// Takes a member of the object at a path away; says whether it was there.
    pub fn remove(&mut self, path: &str, key: &str) -> bool {
        if !self.has(path) {
            return false;
        }
        let Self::Map(entries) = self.place(path) else { return false };
        let before = entries.len();
        entries.retain(|(name, _)| name != key);
        entries.len() < before
    }

    /// The list at a path, made if need be.
    pub fn list_mut(&mut self, path: &str) -> &mut Vec<Value> {
        let place = self.place(path);
        if !matches!(place, Self::List(_)) {
            *place = Self::List(Vec::new());
        }
        let Self::List(list) = place else { unreachable!("just made a list") };
        list
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Number::from_f64(number).map_or(Self::Null, Self::Number)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl From<&[String]> for Value {
    fn from(list: &[String]) -> Self {
        Self::List(list.iter().map(|text| Value::from(text.as_str())).collect())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                for item in list {
                    sequence.serialize_element(item)?;
                }
                sequence.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = sequence.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Lays a JSON text out over lines without touching its tokens, as Go's `json.Indent` does.
pub fn indent(json: &str, step: &str) -> String {
    let mut laid_out = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let (mut in_text, mut escaped, mut fresh) = (false, false, false);
    let break_line = |laid_out: &mut String, depth: usize| {
        laid_out.push('\n');
        (0..depth).for_each(|_| laid_out.push_str(step));
    };
    for character in json.trim().chars() {
        if in_text {
            laid_out.push(character);
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        if character.is_ascii_whitespace() {
            continue;
        }
        if fresh && !matches!(character, ']' | '}') {
            fresh = false;
            depth += 1;
            break_line(&mut laid_out, depth);
        }
        match character {
            '{' | '[' => {
                fresh = true;
                laid_out.push(character);
            }
            '}' | ']' => {
                if fresh {
                    fresh = false;
                } else {
                    depth = depth.saturating_sub(1);
                    break_line(&mut laid_out, depth);
                }
                laid_out.push(character);
            }
            ',' => {
                laid_out.push(character);
                break_line(&mut laid_out, depth);
            }
            ':' => laid_out.push_str(": "),
            '"' => {
                in_text = true;
                laid_out.push(character);
            }
            other => laid_out.push(other),
        }
    }
    laid_out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_unknown_members() {
        let json = r#"{"z":1,"a":{"y":[1,2.5,-3],"b":null},"t":"\"<"}"#;
        let mut value = Value::parse(json.as_bytes()).unwrap();
        assert_eq!(value.to_json(), json);
        value.set("a.new.deep", true);
        assert!(value.bool("a.new.deep"));
        assert!(value.remove("a", "y") && !value.remove("a", "y") && !value.remove("nope", "y"));
        assert_eq!(value.to_json(), r#"{"z":1,"a":{"b":null,"new":{"deep":true}},"t":"\"<"}"#);
    }

    #[test]
    fn indents_like_go() {
        let laid_out = indent(r#"[{"a":{},"b":[],"c":[1,"x: {\"y\", "]}]"#, "    ");
        let expected = "[\n    {\n        \"a\": {},\n        \"b\": [],\n        \"c\": [\n            1,\n            \
                        \"x: {\\\"y\\\", \"\n        ]\n    }\n]";
        assert_eq!(laid_out, expected);
    }
}
