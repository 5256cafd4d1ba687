//! Walks the tree over a value.

use super::functions;
use super::parser::{Base, Call, Node, Operand, Pipeline, parse};
use crate::value::Value;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    nodes: Vec<Node>,
    source: String,
    /// Rendering the head of a table: functions leave the column's title as it is.
    head: bool,
}

struct Scope<'a> {
    template: &'a Template,
    root: &'a Value,
    variables: Vec<(String, Value)>,
    output: String,
}

impl Template {
    /// Parses; the error is Go's, without its position.
    pub fn parse(source: &str) -> Result<Self, String> {
        let nodes = parse(source).map_err(|problem| format!("template: :1: {problem}"))?;
        check_functions(&nodes).map_err(|name| format!("template: :1: function {name:?} not defined"))?;
        Ok(Self { nodes, source: source.to_owned(), head: false })
    }

    /// The same for the head of a table.
    pub fn into_head(mut self) -> Self {
        self.head = true;
        self
    }

    /// Renders a value.
    pub fn render(&self, value: &Value) -> Result<String, String> {
        let variables = vec![(String::new(), value.clone())];
        let mut scope = Scope { template: self, root: value, variables, output: String::new() };
        scope.nodes(&self.nodes, value)?;
        Ok(scope.output)
    }

    fn error(&self, place: usize, problem: &str) -> String {
        let before = &self.source[..place.min(self.source.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        format!("template: :{line}:{column}: executing \"\" at {problem}")
    }
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        let depth = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
            Node::Text(text) => self.output.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.names.is_empty() {
                    self.output.push_str(&print(&value));
                } else {
                    self.bind(&pipeline.names, pipeline.declares, vec![value])?;
                }
            }
            Node::If { condition, then, otherwise } => {
                let value = self.scoped(condition, dot)?;
                self.nodes(if is_true(&value) { then } else { otherwise }, dot)?;
                self.leave(condition);
            }
            Node::With { value, then, otherwise } => {
                let found = self.scoped(value, dot)?;
                if is_true(&found) {
                    self.nodes(then, &found)?;
                } else {
                    self.nodes(otherwise, dot)?;
                }
                self.leave(value);
            }
            Node::Range { list, body, otherwise } => self.range(list, body, otherwise, dot)?,
        }
        Ok(())
    }

    /// Evaluates and binds for the length of a block.
    fn scoped(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let value = self.pipeline(pipeline, dot)?;
        if !pipeline.names.is_empty() {
            self.bind(&pipeline.names, pipeline.declares, vec![value.clone()])?;
        }
        Ok(value)
    }

    fn leave(&mut self, pipeline: &Pipeline) {
        if pipeline.declares {
            self.variables.truncate(self.variables.len() - pipeline.names.len());
        }
    }

    fn range(&mut self, list: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<(), String> {
        let items: Vec<(Value, Value)> = match self.pipeline(list, dot)? {
            Value::List(items) => {
                items.into_iter().enumerate().map(|(index, item)| (Value::from(index as u64), item)).collect()
            }
            Value::Map(mut entries) => {
                entries.sort_by(|(left, _), (right, _)| left.cmp(right));
                entries.into_iter().map(|(key, item)| (Value::Text(key), item)).collect()
            }
            Value::Number(count) => {
                (0..count.as_u64().unwrap_or(0)).map(|index| (Value::from(index), Value::from(index))).collect()
            }
            Value::Null => Vec::new(),
            other => return Err(format!("range can't iterate over {}", print(&other))),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            let depth = self.variables.len();
            let values = if list.names.len() == 2 { vec![key, item.clone()] } else { vec![item.clone()] };
            if !list.names.is_empty() {
                self.bind(&list.names, list.declares, values)?;
            }
            self.nodes(body, &item)?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    fn bind(&mut self, names: &[String], declares: bool, values: Vec<Value>) -> Result<(), String> {
        for (name, value) in names.iter().zip(values) {
            if declares {
                self.variables.push((name.clone(), value));
                continue;
            }
            match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                Some((_, place)) => *place = value,
                None => return Err(format!("undefined variable \"${name}\"")),
            }
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut piped = None;
        for call in &pipeline.calls {
            piped = Some(self.call(call, dot, piped)?);
        }
        Ok(piped.unwrap_or_default())
    }

    fn call(&self, call: &Call, dot: &Value, piped: Option<Value>) -> Result<Value, String> {
        if let Base::Function(name) = &call.head.base {
            return self.function(name, call, dot, piped);
        }
        let value = self.operand(&call.head, dot)?;
        let argument = match call.arguments.first() {
            Some(argument) => Some(self.operand(argument, dot)?),
            None => piped,
        };
        match (value, argument) {
            (value, None) => Ok(value),
            // A method with an argument, such as `.Label "key"`: a map that is asked for a key.
            (Value::Map(entries), Some(Value::Text(key))) => {
                Ok(entries.into_iter().find(|(name, _)| *name == key).map_or(Value::from(""), |(_, value)| value))
            }
            (value, Some(_)) if self.template.head => Ok(value),
            (_, Some(_)) => {
                Err(self.template.error(call.head.place, "<argument>: can't give argument to non-function"))
            }
        }
    }

    fn function(&self, name: &str, call: &Call, dot: &Value, piped: Option<Value>) -> Result<Value, String> {
        // These two stop at the first argument that decides.
        if name == "and" || name == "or" {
            let mut last = Value::Null;
            let given = call.arguments.iter().map(|argument| self.operand(argument, dot));
            for value in given.chain(piped.into_iter().map(Ok)) {
                last = value?;
                if is_true(&last) == (name == "or") {
                    break;
                }
            }
            return Ok(last);
        }
        let mut arguments = Vec::new();
        for argument in &call.arguments {
            arguments.push(self.operand(argument, dot)?);
        }
        arguments.extend(piped);
        if self.template.head && functions::keeps_titles(name) {
            return Ok(arguments.into_iter().find(|argument| matches!(argument, Value::Text(_))).unwrap_or_default());
        }
        functions::call(name, &arguments).map_err(|problem| {
            self.template.error(call.head.place, &format!("<{name}>: error calling {name}: {problem}"))
        })
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let base = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Constant(value) => value.clone(),
            Base::Variable(name) if name.is_empty() => self.root.clone(),
            Base::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => return Err(format!("template: :1: undefined variable \"${name}\"")),
            },
            Base::Function(name) => functions::call(name, &[])
                .map_err(|problem| self.template.error(operand.place, &format!("<{name}>: {problem}")))?,
            Base::Group(pipeline) => self.pipeline(pipeline, dot)?,
        };
        operand.fields.iter().enumerate().try_fold(base, |value, (index, field)| match value.get(field) {
            Some(member) => Ok(member.clone()),
            None => zero_of(field).filter(|_| matches!(value, Value::Map(_))).ok_or_else(|| {
                let chain = operand.fields[..=index].join(".");
                let problem = match &value {
                    Value::Map(_) => format!("<.{chain}>: map has no entry for key {field:?}"),
                    Value::Null => format!("<.{chain}>: nil pointer evaluating interface {{}}.{field}"),
                    _ => format!("<.{chain}>: can't evaluate field {field}"),
                };
                self.template.error(operand.place, &problem)
            }),
        })
    }
}

/// What the API leaves out when it is empty, and templates ask for all the same.
fn zero_of(field: &str) -> Option<Value> {
    match field {
        "Leader" | "Force" | "TTY" | "OpenStdin" | "ReadOnly" | "Init" => Some(Value::Bool(false)),
        "Reachability" | "Message" | "Err" | "Addr" | "Image" | "Error" | "Name" | "NodeID" | "NodeAddr" => {
            Some(Value::from(""))
        }
        "Slot" | "ExitCode" | "PID" | "Nodes" | "Managers" | "NanoCPUs" | "MemoryBytes" | "ForceUpdate" => {
            Some(Value::from(0_u64))
        }
        "Ports"
        | "Args"
        | "Env"
        | "Command"
        | "Constraints"
        | "VirtualIPs"
        | "Mounts"
        | "Secrets"
        | "Configs"
        | "NetworksAttachments"
        | "RemoteManagers"
        | "Warnings" => Some(Value::List(Vec::new())),
        "Labels" | "Options" => Some(Value::empty_map()),
        _ => None,
    }
}

fn check_functions(nodes: &[Node]) -> Result<(), String> {
    let in_pipeline = |pipeline: &Pipeline| check_pipeline(pipeline);
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Print(pipeline) => in_pipeline(pipeline)?,
            Node::If { condition: head, then: body, otherwise }
            | Node::With { value: head, then: body, otherwise }
            | Node::Range { list: head, body, otherwise } => {
                in_pipeline(head)?;
                check_functions(body)?;
                check_functions(otherwise)?;
            }
        }
    }
    Ok(())
}

fn check_pipeline(pipeline: &Pipeline) -> Result<(), String> {
    for operand in pipeline.calls.iter().flat_map(|call| std::iter::once(&call.head).chain(&call.arguments)) {
        match &operand.base {
            Base::Function(name) if !functions::is_known(name) => return Err(name.clone()),
            Base::Group(pipeline) => check_pipeline(pipeline)?,
            _ => {}
        }
    }
    Ok(())
}

/// Go's idea of truth: not zero, not empty.
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Text(text) => !text.is_empty(),
        Value::List(list) => !list.is_empty(),
        Value::Map(entries) => !entries.is_empty(),
    }
}

/// As Go's `%v`: `[a b]`, `map[k:v]`, `<no value>`.
pub fn print(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::List(list) => format!("[{}]", list.iter().map(inner).collect::<Vec<_>>().join(" ")),
        Value::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|left, right| left.0.cmp(&right.0));
            let members: Vec<String> = sorted.iter().map(|(key, value)| format!("{key}:{}", inner(value))).collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

fn inner(value: &Value) -> String {
    if matches!(value, Value::Null) { "<nil>".to_owned() } else { print(value) }
}
