//! Tables of tasks, for `service ps` and `node ps`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use clap::Args;

use super::FilterArguments;
use crate::api::escape;
use crate::context::Context;
use crate::failure::Failure;
use crate::format::Columns;
use crate::human::{capitalise, duration, ellipsis, image_name, natural_order, parse_time, seconds_since, short_id};
use crate::value::Value;

/// An error longer than this is cut in a table.
const MAX_ERROR_CHARACTERS: usize = 30;

/// Options of both.
#[derive(Debug, Args)]
pub struct PsArguments {
    #[command(flatten)]
    pub filter: FilterArguments,
    /// Pretty-print tasks using a Go template
    #[arg(long)]
    format: Option<String>,
    /// Do not map IDs to Names
    #[arg(long)]
    no_resolve: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display task IDs
    #[arg(short, long)]
    quiet: bool,
}

const COLUMNS: Columns = Columns {
    fields: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Image", "IMAGE"),
        ("Node", "NODE"),
        ("DesiredState", "DESIRED STATE"),
        ("CurrentState", "CURRENT STATE"),
        ("Error", "ERROR"),
        ("Ports", "PORTS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
    quiet: "{{.ID}}",
};

/// Names for ids, asked for once each.
pub struct Names<'a> {
    context: &'a Context,
    off: bool,
    known: RefCell<BTreeMap<String, String>>,
}

impl<'a> Names<'a> {
    pub fn new(context: &'a Context, off: bool) -> Self {
        Self { context, off, known: RefCell::default() }
    }

    /// What cannot be resolved keeps its id.
    pub async fn of(&self, kind: &str, id: &str) -> String {
        if self.off || id.is_empty() {
            return id.to_owned();
        }
        if let Some(name) = self.known.borrow().get(id) {
            return name.clone();
        }
        let name = match self.context.client.get(&format!("/{kind}/{}", escape(id)), &[]).await {
            Ok(object) => {
                let names = [object.text("Spec.Name"), object.text("Description.Hostname")];
                names.into_iter().find(|name| !name.is_empty()).unwrap_or(id).to_owned()
            }
            Err(_) => id.to_owned(),
        };
        self.known.borrow_mut().insert(id.to_owned(), name.clone());
        name
    }
}

/// What `-q` shows of an id: docker's commands differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Its first characters, unless `--no-trunc` is given.
    Short,
    /// All of it.
    Whole,
}

/// Shows tasks: those of one slot together, the newest first, older ones indented below it.
pub async fn show(
    context: &Context,
    tasks: Vec<Value>,
    arguments: &PsArguments,
    quiet_ids: Ids,
) -> Result<(), Failure> {
    let names = Names::new(context, arguments.no_resolve);
    let mut named = Vec::new();
    for task in tasks {
        let service = names.of("services", task.text("ServiceID")).await;
        let name = match task.uint("Slot") {
            0 => format!("{service}.{}", task.text("NodeID")),
            slot => format!("{service}.{slot}"),
        };
        named.push((name, task));
    }
    named.sort_by(|(left, left_task), (right, right_task)| {
        let newest = || parse_time(right_task.text("CreatedAt")).cmp(&parse_time(left_task.text("CreatedAt")));
        natural_order(left, right).then_with(newest)
    });
    let is_table = arguments.format.as_deref().is_none_or(|format| format.starts_with("table")) && !arguments.quiet;
    let whole = arguments.no_trunc || (arguments.quiet && quiet_ids == Ids::Whole);
    let truncate = !whole;
    let mut rows = Vec::new();
    let mut previous = String::new();
    for (name, task) in named {
        let node = names.of("nodes", task.text("NodeID")).await;
        let shown = if name == previous && is_table { format!(" \\_ {name}") } else { name.clone() };
        rows.push(vec![
            ("ID", Value::from(if truncate { short_id(task.text("ID")) } else { task.text("ID") })),
            ("Name", Value::from(shown)),
            ("Image", Value::from(image(&task, truncate))),
            ("Node", Value::from(node)),
            ("DesiredState", Value::from(capitalise(task.text("DesiredState")))),
            ("CurrentState", Value::from(current_state(&task))),
            ("Error", Value::from(error(&task, truncate))),
            ("Ports", Value::from(ports(&task))),
        ]);
        previous = name;
    }
    COLUMNS.show(context, arguments.format.as_deref(), arguments.quiet, rows)
}

fn image(task: &Value, truncate: bool) -> String {
    let image = task.text("Spec.ContainerSpec.Image");
    if truncate { image_name(image) } else { image.to_owned() }
}

fn current_state(task: &Value) -> String {
    let since = seconds_since(parse_time(task.text("Status.Timestamp")));
    format!("{} {} ago", capitalise(task.text("Status.State")), duration(since).to_lowercase())
}

fn error(task: &Value, truncate: bool) -> String {
    let error = task.text("Status.Err");
    let error = if truncate { ellipsis(error, MAX_ERROR_CHARACTERS) } else { error.to_owned() };
    if error.is_empty() { error } else { format!("\"{error}\"") }
}

fn ports(task: &Value) -> String {
    let port = |port: &Value| {
        format!("*:{}->{}/{}", port.uint("PublishedPort"), port.uint("TargetPort"), port.text("Protocol"))
    };
    task.list("Status.PortStatus.Ports").iter().map(port).collect::<Vec<_>>().join(",")
}
