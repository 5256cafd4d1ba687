//! `inspect` of anything: as JSON in the server's order, or by a template.

use bytes::Bytes;

use crate::context::Context;
use crate::failure::Failure;
use crate::template::Template;
use crate::value::{Value, indent};

/// Options of every `inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArguments {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short = 'f', long)]
    pub format: Option<String>,
    /// Print the information in a human friendly format
    #[arg(long)]
    pub pretty: bool,
    /// What to inspect
    #[arg(required = true)]
    pub references: Vec<String>,
}

/// Fetches and shows each; what cannot be fetched is said at the end.
pub async fn inspect(
    context: &Context,
    references: &[String],
    format: Option<&str>,
    fetch: impl AsyncFn(&str) -> Result<Bytes, Failure>,
) -> Result<(), Failure> {
    let format = format.unwrap_or("");
    let template = match format {
        "" | "json" => None,
        source => {
            let parsed = Template::parse(source);
            Some(parsed.map_err(|problem| Failure::new(format!("template parsing error: {problem}")))?)
        }
    };
    let mut failures = Vec::new();
    let mut found = Vec::new();
    for reference in references {
        let answer = fetch(reference).await.and_then(|raw| match &template {
            None => Ok(String::from_utf8_lossy(&raw).trim().to_owned()),
            Some(template) => template
                .render(&Value::parse(&raw)?)
                .map_err(|problem| Failure::new(format!("template parsing error: {problem}"))),
        });
        match answer {
            Ok(text) => found.push(text),
            Err(failure) => failures.push(failure),
        }
    }
    let output = match (&template, format) {
        (Some(_), _) if found.is_empty() => "\n".to_owned(),
        (Some(_), _) => found.into_iter().map(|text| text + "\n").collect(),
        (None, "json") if !found.is_empty() => format!("[{}]\n", found.join(",")),
        (None, _) if found.is_empty() => "[]\n".to_owned(),
        (None, _) => indent(&format!("[{}]", found.join(",")), "    ") + "\n",
    };
    context.write(output)?;
    Failure::join(failures)
}
