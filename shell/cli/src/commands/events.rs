//! `events`.

use clap::Args;

use super::FilterArguments;
use super::output::since_stamp;
use crate::api::{Filters, JsonStream};
use crate::context::Context;
use crate::failure::Failure;
use crate::template::Template;
use crate::value::Value;

#[derive(Debug, Args)]
pub struct EventsArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// Format output using a custom template: 'json' or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long)]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long)]
    until: Option<String>,
}

pub async fn events(context: &Context, arguments: EventsArguments) -> Result<(), Failure> {
    let mut query = Filters::from_arguments(&arguments.filter.filter).query();
    for (name, stamp) in [("since", &arguments.since), ("until", &arguments.until)] {
        if let Some(stamp) = stamp {
            query.push((name, since_stamp(stamp)?));
        }
    }
    let failed = |problem| Failure::with_code(format!("Error parsing format: {problem}"), 64);
    let template = match arguments.format.as_deref() {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}").map_err(failed)?),
        Some(source) => Some(Template::parse(source).map_err(failed)?),
    };
    let mut stream = JsonStream::new(context.client.get_stream("/events", &query).await?);
    while let Some(event) = stream.next().await? {
        let line = match &template {
            Some(template) => template.render(&event).map_err(Failure::new)?,
            None => pretty(&event),
        };
        context.line(line)?;
    }
    Ok(())
}

fn pretty(event: &Value) -> String {
    let mut attributes: Vec<String> = event
        .entries("Actor.Attributes")
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_text().unwrap_or("")))
        .collect();
    attributes.sort();
    let details = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    let (kind, action, id) = (event.text("Type"), event.text("Action"), event.text("Actor.ID"));
    format!("{} {kind} {action} {id}{details}", stamp(event))
}

/// RFC 3339 with nine digits.
fn stamp(event: &Value) -> String {
    let nanos = match event.int("timeNano") {
        0 => i128::from(event.int("time")) * 1_000_000_000,
        nanos => i128::from(nanos),
    };
    let Ok(time) = time::OffsetDateTime::from_unix_timestamp_nanos(nanos) else { return String::new() };
    let (date, clock) = (time.date(), time.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second, nano) = clock.as_hms_nano();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nano:09}Z")
}
