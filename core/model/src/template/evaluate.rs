//! The tree to text.

use std::collections::BTreeMap;

use super::parse::{Base, Node, Operand, Pipeline};
use super::{Facts, Lookup};

/// Functions for every template.
pub(super) const FUNCTIONS: [&str; 14] =
    ["join", "index", "print", "println", "printf", "len", "eq", "ne", "and", "or", "not", "html", "js", "urlquery"];
/// Functions for the texts of secrets and configs.
pub(super) const PAYLOAD_FUNCTIONS: [&str; 3] = ["secret", "config", "env"];

/// Bytes that a template may become; the largest config is smaller.
const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pieces that are looked at, those of repeated bodies each time.
const STEPS_MAX: usize = 100_000;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Bool(bool),
    /// Fixed fields: another one is an error.
    Record(Vec<(&'static str, Value)>),
    /// Labels: a field that is not there is an error, an index that is not there is empty.
    Map(BTreeMap<String, String>),
}

impl Value {
    fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0,
            Self::Bool(bool) => *bool,
            Self::Record(_) => true,
            Self::Map(map) => !map.is_empty(),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Bool(bool) => bool.to_string(),
            Self::Record(fields) => {
                format!("{{{}}}", fields.iter().map(|(_, value)| value.show()).collect::<Vec<_>>().join(" "))
            }
            Self::Map(map) => {
                format!(
                    "map[{}]",
                    map.iter().map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>().join(" ")
                )
            }
        }
    }

    fn field(&self, name: &str) -> Result<Self, String> {
        match self {
            Self::Record(fields) => match fields.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => Ok(value.clone()),
                None => {
                    let known: Vec<&str> = fields.iter().map(|(known, _)| *known).collect();
                    Err(format!("can't evaluate field {name} (there are {})", known.join(", ")))
                }
            },
            Self::Map(map) => {
                let value = map.get(name).cloned().map(Self::Text);
                value.ok_or_else(|| format!("map has no entry for key {name:?}"))
            }
            other => Err(format!("can't evaluate field {name} in {:?}", other.show())),
        }
    }
}

/// What a spec's placeholders, and those of secrets and configs, begin at.
pub(super) fn root(facts: &Facts) -> Value {
    let text = |text: &String| Value::Text(text.clone());
    let platform = vec![("Architecture", text(&facts.node_architecture)), ("OS", text(&facts.node_os))];
    Value::Record(vec![
        (
            "Service",
            Value::Record(vec![
                ("ID", text(&facts.service_id)),
                ("Name", text(&facts.service_name)),
                ("Labels", Value::Map(facts.service_labels.clone())),
            ]),
        ),
        (
            "Node",
            Value::Record(vec![
                ("ID", text(&facts.node_id)),
                ("Hostname", text(&facts.node_hostname)),
                ("Platform", Value::Record(platform)),
            ]),
        ),
        (
            "Task",
            Value::Record(vec![
                ("ID", text(&facts.task_id)),
                ("Name", text(&facts.task_name)),
                ("Slot", text(&facts.task_slot)),
            ]),
        ),
    ])
}

/// Named texts.
pub(super) fn record(fields: &[(&'static str, &str)]) -> Value {
    Value::Record(fields.iter().map(|(name, text)| (*name, Value::Text((*text).to_owned()))).collect())
}

struct Run<'a> {
    lookup: Option<&'a dyn Lookup>,
    variables: Vec<(String, Value)>,
    out: String,
    steps: usize,
}

/// Expands a parsed template.
pub(super) fn run(nodes: &[Node], root: Value, lookup: Option<&dyn Lookup>) -> Result<String, String> {
    let mut run = Run { lookup, variables: vec![(String::new(), root.clone())], out: String::new(), steps: 0 };
    run.nodes(nodes, &root)?;
    Ok(run.out)
}

impl Run<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        for node in nodes {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(format!("more than {STEPS_MAX} steps"));
            }
            self.node(node, dot)?;
            if self.out.len() > OUTPUT_BYTES_MAX {
                return Err(format!("more than {OUTPUT_BYTES_MAX} bytes of output"));
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.declares.is_empty() {
                    self.out.push_str(&value.show());
                }
            }
            Node::If { condition, then, otherwise } => self.scoped(|run| {
                let chosen = if run.pipeline(condition, dot)?.is_true() { then } else { otherwise };
                run.nodes(chosen, dot)
            })?,
            Node::With { value, then, otherwise } => self.scoped(|run| {
                let value = run.pipeline(value, dot)?;
                if value.is_true() { run.nodes(then, &value) } else { run.nodes(otherwise, dot) }
            })?,
            Node::Range { list, body, otherwise } => self.range(list, body, otherwise, dot)?,
        }
        Ok(())
    }

    /// Variables that are declared inside end with it.
    fn scoped(&mut self, inside: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let known = self.variables.len();
        let result = inside(self);
        self.variables.truncate(known);
        result
    }

    fn range(&mut self, list: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<(), String> {
        let map = match self.value_of(list, dot)? {
            Value::Map(map) => map,
            other => return Err(format!("range can't iterate over {:?}", other.show())),
        };
        if map.is_empty() {
            return self.scoped(|run| run.nodes(otherwise, dot));
        }
        for (key, value) in map {
            let value = Value::Text(value);
            self.scoped(|run| {
                match list.declares.as_slice() {
                    [name] => run.variables.push((name.clone(), value.clone())),
                    [first, second] => {
                        run.variables.push((first.clone(), Value::Text(key)));
                        run.variables.push((second.clone(), value.clone()));
                    }
                    _ => {}
                }
                run.nodes(body, &value)
            })?;
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let value = self.value_of(pipeline, dot)?;
        for name in &pipeline.declares {
            self.variables.push((name.clone(), value.clone()));
        }
        Ok(value)
    }

    fn value_of(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut value: Option<Value> = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value.take(), dot)?);
        }
        value.ok_or_else(|| "missing value for command".to_owned())
    }

    fn command(&mut self, command: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let Some((head, rest)) = command.split_first() else { return Err("missing value for command".to_owned()) };
        let Base::Function(name) = &head.base else {
            if !rest.is_empty() || piped.is_some() {
                return Err("can't give argument to what is no function".to_owned());
            }
            return self.operand(head, dot);
        };
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        let value = self.call(name, &arguments)?;
        head.fields.iter().try_fold(value, |value, field| value.field(field))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let base = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map(|(_, value)| value.clone()).ok_or_else(|| format!("undefined variable \"${name}\""))?
            }
            Base::Function(name) => self.call(name, &[])?,
            Base::Text(text) => Value::Text(text.clone()),
            Base::Number(number) => Value::Number(*number),
            Base::Bool(bool) => Value::Bool(*bool),
            Base::Group(pipeline) => self.pipeline(pipeline, dot)?,
        };
        operand.fields.iter().try_fold(base, |value, field| value.field(field))
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        let text = |value: &Value| match value {
            Value::Text(text) => Ok(text.clone()),
            other => Err(format!("{name}: expected string; found {}", other.show())),
        };
        let all = |values: &[Value], by: &str| values.iter().map(Value::show).collect::<Vec<_>>().join(by);
        match (name, arguments) {
            ("secret" | "config" | "env", [asked]) => {
                let lookup = self.lookup.ok_or_else(|| format!("function {name:?} not defined"))?;
                let asked = text(asked)?;
                Ok(Value::Text(match name {
                    "secret" => lookup.secret(&asked)?,
                    "config" => lookup.config(&asked)?,
                    _ => lookup.env(&asked),
                }))
            }
            ("join", [by, rest @ ..]) => {
                let texts: Result<Vec<String>, String> = rest.iter().map(text).collect();
                Ok(Value::Text(texts?.join(&text(by)?)))
            }
            ("index", [Value::Map(map), key]) => Ok(Value::Text(map.get(&text(key)?).cloned().unwrap_or_default())),
            ("print", values) => Ok(Value::Text(all(values, " "))),
            ("println", values) => Ok(Value::Text(all(values, " ") + "\n")),
            ("printf", [format, values @ ..]) => Ok(Value::Text(formatted(&text(format)?, values)?)),
            ("len", [Value::Text(text)]) => Ok(Value::Number(length(text.len()))),
            ("len", [Value::Map(map)]) => Ok(Value::Number(length(map.len()))),
            ("eq", [first, rest @ ..]) if !rest.is_empty() => Ok(Value::Bool(rest.contains(first))),
            ("ne", [left, right]) => Ok(Value::Bool(left != right)),
            ("not", [value]) => Ok(Value::Bool(!value.is_true())),
            ("and", [.., last]) => Ok(arguments.iter().find(|value| !value.is_true()).unwrap_or(last).clone()),
            ("or", [.., last]) => Ok(arguments.iter().find(|value| value.is_true()).unwrap_or(last).clone()),
            ("html" | "js" | "urlquery", _) => Err(format!("function {name:?} is not supported")),
            _ => Err(format!("wrong number or kind of arguments for {name}")),
        }
    }
}

fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn formatted(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let verb = chars.next().ok_or("printf: a format ends with %")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| format!("printf: %{verb} has no argument"))?;
        match verb {
            's' | 'v' | 'd' => out.push_str(&value.show()),
            'q' => out.push_str(&format!("{:?}", value.show())),
            other => return Err(format!("printf: %{other} is not supported (there are %s, %v, %d, %q, %%)")),
        }
    }
    Ok(out)
}
