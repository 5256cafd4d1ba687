//! The functions of Go's templates and docker's own.

use std::cmp::Ordering;

use super::evaluate::{is_true, print};
use crate::value::Value;

const KNOWN: &[&str] = &[
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "print", "printf", "println", "json",
    "split", "join", "title", "lower", "upper", "pad", "truncate",
];

/// Whether there is such a function.
pub fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Whether the head of a table shows the argument itself.
pub fn keeps_titles(name: &str) -> bool {
    matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "pad" | "truncate")
}

/// Calls one.
pub fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    match (name, arguments) {
        ("not", [value]) => Ok(Value::Bool(!is_true(value))),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => Ok(Value::Bool(rest.iter().any(|other| equal(first, other)))),
        ("ne", [left, right]) => Ok(Value::Bool(!equal(left, right))),
        ("lt" | "le" | "gt" | "ge", [left, right]) => compare(left, right).map(|order| {
            Value::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            })
        }),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("print", values) => Ok(Value::Text(print_all(values))),
        ("println", values) => Ok(Value::Text(values.iter().map(print).collect::<Vec<_>>().join(" ") + "\n")),
        ("printf", [Value::Text(format), values @ ..]) => Ok(Value::Text(formatted(format, values))),
        ("json", [value]) => Ok(Value::Text(value.to_json())),
        ("split", [Value::Text(text), Value::Text(by)]) => {
            Ok(Value::from(text.split(by.as_str()).map(str::to_owned).collect::<Vec<_>>()))
        }
        ("join", [Value::List(list), Value::Text(by)]) => {
            Ok(Value::Text(list.iter().map(print).collect::<Vec<_>>().join(by)))
        }
        ("join", [Value::Null, _]) => Ok(Value::from("")),
        ("lower", [value]) => Ok(Value::Text(text_of(value)?.to_lowercase())),
        ("upper", [value]) => Ok(Value::Text(text_of(value)?.to_uppercase())),
        ("title", [value]) => Ok(Value::Text(title(text_of(value)?))),
        ("pad", [value, before, after]) => {
            let spaces = |count: &Value| " ".repeat(count.uint_itself());
            let text = text_of(value)?;
            Ok(Value::Text(if text.is_empty() { String::new() } else { spaces(before) + text + &spaces(after) }))
        }
        ("truncate", [value, width]) => Ok(Value::Text(text_of(value)?.chars().take(width.uint_itself()).collect())),
        _ => Err("wrong number or kind of arguments".to_owned()),
    }
}

impl Value {
    fn uint_itself(&self) -> usize {
        match self {
            Value::Number(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0),
            _ => 0,
        }
    }
}

fn text_of(value: &Value) -> Result<&str, String> {
    value.as_text().ok_or_else(|| format!("wrong type for value; expected string; got {}", print(value)))
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

fn compare(left: &Value, right: &Value) -> Result<Ordering, String> {
    let order = match (left, right) {
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
        }
        _ => None,
    };
    order.ok_or_else(|| "incompatible types for comparison".to_owned())
}

fn length(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Map(entries) => entries.len(),
        Value::Null => 0,
        _ => return Err("len of this type".to_owned()),
    };
    Ok(Value::from(length as u64))
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Map(_), Value::Text(key)) => Ok(value.get(key).cloned().unwrap_or_default()),
        (Value::List(list), Value::Number(_)) => {
            let position = key.uint_itself();
            list.get(position).cloned().ok_or_else(|| format!("index out of range: {position}"))
        }
        (Value::Text(text), Value::Number(_)) => {
            let byte = text.as_bytes().get(key.uint_itself()).ok_or("index out of range")?;
            Ok(Value::from(u64::from(*byte)))
        }
        _ => Err("cannot index this".to_owned()),
    }
}

/// Spaces go between two values when neither is a text.
fn print_all(values: &[Value]) -> String {
    let mut output = String::new();
    for (position, value) in values.iter().enumerate() {
        let between_texts =
            position > 0 && !matches!(value, Value::Text(_)) && !matches!(values[position - 1], Value::Text(_));
        if between_texts {
            output.push(' ');
        }
        output.push_str(&print(value));
    }
    output
}

fn title(text: &str) -> String {
    let mut start = true;
    let raise = |character: char| {
        let raised: String = if start { character.to_uppercase().collect() } else { character.to_string() };
        start = !character.is_alphanumeric();
        raised
    };
    text.chars().map(raise).collect()
}

/// `%s %v %d %q %t %f %x`, with flags `-` and `0`, width and precision.
fn formatted(format: &str, values: &[Value]) -> String {
    let mut output = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some(percent) = rest.find('%') {
        output.push_str(&rest[..percent]);
        rest = &rest[percent + 1..];
        let verb_at = rest.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(rest.len());
        let (flags, verb) = (&rest[..verb_at], rest[verb_at..].chars().next());
        rest = &rest[(verb_at + verb.map_or(0, char::len_utf8)).min(rest.len())..];
        match verb {
            Some('%') => output.push('%'),
            Some(verb) => match values.next() {
                Some(value) => output.push_str(&pad(&one(verb, flags, value), flags)),
                None => output.push_str(&format!("%!{verb}(MISSING)")),
            },
            None => output.push_str("%!(NOVERB)"),
        }
    }
    output + rest
}

fn one(verb: char, flags: &str, value: &Value) -> String {
    let precision = flags.split_once('.').and_then(|(_, digits)| digits.parse::<usize>().ok());
    match (verb, value) {
        ('q', Value::Text(text)) => Value::from(text.as_str()).to_json(),
        ('f', Value::Number(number)) => format!("{:.*}", precision.unwrap_or(6), number.as_f64().unwrap_or(0.0)),
        ('x', Value::Number(number)) => format!("{:x}", number.as_i64().unwrap_or(0)),
        ('x', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('s', Value::Text(text)) => text.chars().take(precision.unwrap_or(usize::MAX)).collect(),
        _ => print(value),
    }
}

fn pad(text: &str, flags: &str) -> String {
    let width = flags.split('.').next().unwrap_or("");
    let (left, width) = (width.contains('-'), width.trim_start_matches(['-', '+', '#', ' ']));
    let zero = width.starts_with('0');
    let missing = width.parse::<usize>().unwrap_or(0).saturating_sub(text.chars().count());
    match (left, zero) {
        (true, _) => format!("{text}{}", " ".repeat(missing)),
        (false, true) => format!("{}{text}", "0".repeat(missing)),
        (false, false) => format!("{}{text}", " ".repeat(missing)),
    }
}
