//! `image`: those of this node.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use clap::{Args, Subcommand};
use http::Method;

use super::FilterArguments;
use super::inspect::inspect;
use crate::api::{Filters, JsonStream, Payload, Pieces, escape_path};
use crate::context::Context;
use crate::failure::Failure;
use crate::format::Columns;
use crate::human::{decimal_size, duration, long_decimal_size, seconds_since, short_id};
use crate::terminal;
use crate::value::Value;

const DEFAULT_TAG: &str = "latest";

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List images
    #[command(alias = "list")]
    Ls(ListArguments),
    /// Download an image from a registry
    Pull(PullArguments),
    /// Import the contents from a tarball to create a filesystem image
    Import(ImportArguments),
    /// Load an image from a tar archive or STDIN
    Load(LoadArguments),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(TagArguments),
    /// Remove one or more images
    #[command(alias = "remove")]
    Rm(RemoveArguments),
    /// Remove unused images
    Prune(PruneArguments),
    /// Display detailed information on one or more images
    Inspect(InspectArguments),
}

#[derive(Debug, Args)]
pub struct ListArguments {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    #[command(flatten)]
    filter: FilterArguments,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Only this repository
    repository: Option<String>,
}

#[derive(Debug, Args)]
pub struct PullArguments {
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// NAME[:TAG|@DIGEST]
    image: String,
}

#[derive(Debug, Args)]
pub struct ImportArguments {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long)]
    message: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    platform: Option<String>,
    /// A file, or - for standard input
    file: String,
    /// REPOSITORY[:TAG]
    reference: Option<String>,
}

#[derive(Debug, Args)]
pub struct LoadArguments {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long)]
    input: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Args)]
pub struct TagArguments {
    /// SOURCE_IMAGE[:TAG]
    source: String,
    /// TARGET_IMAGE[:TAG]
    target: String,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Images
    #[arg(required = true)]
    images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PruneArguments {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    filter: LongFilterArguments,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// `--filter` where `-f` means force.
#[derive(Debug, Args)]
pub struct LongFilterArguments {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filter: Vec<crate::arguments::Filter>,
}

#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// Images
    #[arg(required = true)]
    images: Vec<String>,
}

const FIELDS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];
const COLUMNS: Columns = Columns {
    fields: FIELDS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
};
const WITH_DIGESTS: Columns = Columns {
    fields: FIELDS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
};

pub async fn execute(context: &Context, command: ImageCommand) -> Result<(), Failure> {
    match command {
        ImageCommand::Ls(arguments) => list(context, arguments).await,
        ImageCommand::Pull(arguments) => pull(context, arguments).await,
        ImageCommand::Import(arguments) => import(context, arguments).await,
        ImageCommand::Load(arguments) => load(context, arguments).await,
        ImageCommand::Tag(arguments) => tag(context, arguments).await,
        ImageCommand::Rm(arguments) => remove(context, arguments).await,
        ImageCommand::Prune(arguments) => prune(context, arguments).await,
        ImageCommand::Inspect(arguments) => {
            let fetch =
                async |name: &str| context.client.get_raw(&format!("/images/{}/json", escape_path(name)), &[]).await;
            inspect(context, &arguments.images, arguments.format.as_deref(), fetch).await
        }
    }
}

pub async fn list(context: &Context, arguments: ListArguments) -> Result<(), Failure> {
    let mut filters = Filters::from_arguments(&arguments.filter.filter);
    if let Some(repository) = &arguments.repository {
        filters.add("reference", repository);
    }
    let mut query = filters.query();
    if arguments.all {
        query.push(("all", "1".to_owned()));
    }
    let Value::List(mut images) = context.client.get("/images/json", &query).await? else { return Ok(()) };
    images.sort_by_key(|image| std::cmp::Reverse(image.int("Created")));
    let rows = images
        .iter()
        .flat_map(|image| names(image, arguments.digests).into_iter().map(move |name| (image, name)))
        .map(|(image, (repository, tag, digest))| {
            let id = image.text("Id");
            let created = time::OffsetDateTime::from_unix_timestamp(image.int("Created")).ok();
            vec![
                ("ID", Value::from(if arguments.no_trunc { id } else { short_id(id) })),
                ("Repository", Value::from(repository)),
                ("Tag", Value::from(tag)),
                ("Digest", Value::from(digest)),
                ("CreatedSince", Value::from(format!("{} ago", duration(seconds_since(created))))),
                ("CreatedAt", Value::from(created.map_or_else(String::new, |time| time.to_string()))),
                ("Size", Value::from(decimal_size(image.float("Size")))),
                ("Containers", Value::from(unknown_below_zero(image, "Containers", |count| count.to_string()))),
                ("VirtualSize", Value::from(decimal_size(image.float("Size")))),
                ("SharedSize", Value::from(unknown_below_zero(image, "SharedSize", |size| decimal_size(size as f64)))),
                ("UniqueSize", Value::from("N/A")),
            ]
        })
        .collect();
    let columns = if arguments.digests { &WITH_DIGESTS } else { &COLUMNS };
    columns.show(context, arguments.format.as_deref(), arguments.quiet, rows)
}

fn unknown_below_zero(image: &Value, member: &str, show: impl Fn(i64) -> String) -> String {
    match image.int(member) {
        ..0 => "N/A".to_owned(),
        number => show(number),
    }
}

/// (repository, tag, digest) of each name; one line without names for an image that has none.
fn names(image: &Value, digests: bool) -> Vec<(String, String, String)> {
    const NONE: &str = "<none>";
    let is_real = |name: &&&str| !name.starts_with("<none>");
    let mut by_repository: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for name in image.texts("RepoTags").iter().filter(is_real) {
        if let Some((repository, tag)) = name.rsplit_once(':') {
            by_repository.entry(repository.to_owned()).or_default().0.push(tag.to_owned());
        }
    }
    for name in image.texts("RepoDigests").iter().filter(is_real) {
        if let Some((repository, digest)) = name.split_once('@') {
            by_repository.entry(repository.to_owned()).or_default().1.push(digest.to_owned());
        }
    }
    let mut names = Vec::new();
    for (repository, (tags, own_digests)) in by_repository {
        let tags_or_none = if tags.is_empty() { vec![NONE.to_owned()] } else { tags };
        for tag in tags_or_none {
            if digests && !own_digests.is_empty() {
                names.extend(own_digests.iter().map(|digest| (repository.clone(), tag.clone(), digest.clone())));
            } else {
                names.push((repository.clone(), tag, NONE.to_owned()));
            }
        }
    }
    if names.is_empty() {
        names.push((NONE.to_owned(), NONE.to_owned(), NONE.to_owned()));
    }
    names
}

/// (name, tag or digest), with the default tag.
fn split_name(name: &str) -> (String, String) {
    if let Some((name, digest)) = name.split_once('@') {
        return (name.to_owned(), digest.to_owned());
    }
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[last..].rfind(':') {
        Some(colon) => (name[..last + colon].to_owned(), name[last + colon + 1..].to_owned()),
        None => (name.to_owned(), DEFAULT_TAG.to_owned()),
    }
}

pub async fn pull(context: &Context, arguments: PullArguments) -> Result<(), Failure> {
    let (name, tag) = split_name(&arguments.image);
    if !arguments.image.contains('@') && !arguments.image[name.len()..].starts_with(':') && !arguments.quiet {
        context.line(format!("Using default tag: {tag}"))?;
    }
    let mut query = vec![("fromImage", canonical(&name)), ("tag", tag.clone())];
    if let Some(platform) = arguments.platform {
        query.push(("platform", platform));
    }
    let auth = super::service_credentials(&arguments.image)?;
    let headers = [("x-registry-auth", auth)];
    let answer = context.client.send(Method::POST, "/images/create", &query, &headers, Payload::Nothing).await?;
    show_progress(context, Pieces::new(answer), arguments.quiet).await?;
    let full = if tag.contains(':') { format!("{name}@{tag}") } else { format!("{name}:{tag}") };
    context.line(canonical(&full))
}

/// With its registry, as docker ends a pull.
fn canonical(name: &str) -> String {
    match name.split_once('/') {
        Some((first, _)) if first == "localhost" || first.contains(['.', ':']) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

/// Steps as they come; a terminal shows those of a layer on one line.
async fn show_progress(context: &Context, pieces: Pieces, quiet: bool) -> Result<(), Failure> {
    let terminal = std::io::stdout().is_terminal();
    let mut lines: Vec<String> = Vec::new();
    let mut stream = JsonStream::new(pieces);
    while let Some(step) = stream.next().await? {
        let error = [step.text("errorDetail.message"), step.text("error")].into_iter().find(|text| !text.is_empty());
        if let Some(error) = error {
            return Err(Failure::new(error));
        }
        if quiet {
            continue;
        }
        if step.has("stream") {
            context.write(step.text("stream"))?;
            continue;
        }
        let (id, status) = (step.text("id"), step.text("status"));
        let counts = counts(&step);
        if !terminal && !counts.is_empty() {
            continue;
        }
        let text = if id.is_empty() { status.to_owned() } else { format!("{id}: {status}{counts}") };
        match lines.iter().position(|known| known == id && !id.is_empty()) {
            Some(place) if terminal => {
                let up = lines.len() - place;
                context.write(format!("\x1b[{up}A\x1b[2K\r{text}\r\x1b[{up}B"))?;
            }
            _ => {
                lines.push(id.to_owned());
                context.line(text)?;
            }
        }
    }
    Ok(())
}

fn counts(step: &Value) -> String {
    let (current, total) = (step.float("progressDetail.current"), step.float("progressDetail.total"));
    match (current > 0.0, total > 0.0) {
        (true, true) => format!(" {}/{}", decimal_size(current), decimal_size(total)),
        (true, false) => format!(" {}", decimal_size(current)),
        _ => String::new(),
    }
}

async fn open(path: &str) -> Result<Payload, Failure> {
    if path == "-" {
        return Ok(Payload::Stream(Box::new(tokio::io::stdin())));
    }
    let file = tokio::fs::File::open(path).await.map_err(|error| Failure::new(format!("open {path}: {error}")))?;
    Ok(Payload::Stream(Box::new(file)))
}

pub async fn import(context: &Context, arguments: ImportArguments) -> Result<(), Failure> {
    let is_url = arguments.file.contains("://");
    let source = if is_url { arguments.file.as_str() } else { "-" };
    let mut query = vec![("fromSrc", source.to_owned())];
    if let Some(reference) = &arguments.reference {
        query.push(("repo", reference.clone()));
    }
    if let Some(message) = arguments.message {
        query.push(("message", message));
    }
    if let Some(platform) = arguments.platform {
        query.push(("platform", platform));
    }
    query.extend(arguments.change.into_iter().map(|change| ("changes", change)));
    let payload = if is_url { Payload::Nothing } else { open(&arguments.file).await? };
    let answer = context.client.send(Method::POST, "/images/create", &query, &[], payload).await?;
    show_progress(context, Pieces::new(answer), false).await
}

pub async fn load(context: &Context, arguments: LoadArguments) -> Result<(), Failure> {
    if arguments.input.is_none() && std::io::stdin().is_terminal() {
        return Err(Failure::new("requested load from stdin, but stdin is empty"));
    }
    let payload = open(arguments.input.as_deref().unwrap_or("-")).await?;
    let quiet = arguments.quiet || !std::io::stdout().is_terminal();
    let query = [("quiet", if quiet { "1" } else { "0" }.to_owned())];
    let answer = context.client.send(Method::POST, "/images/load", &query, &[], payload).await?;
    show_progress(context, Pieces::new(answer), false).await
}

pub async fn tag(context: &Context, arguments: TagArguments) -> Result<(), Failure> {
    let (repository, tag) = split_name(&arguments.target);
    let query = [("repo", repository), ("tag", tag)];
    let path = format!("/images/{}/tag", escape_path(&arguments.source));
    context.client.post(&path, &query, Payload::Nothing).await.map(drop)
}

pub async fn remove(context: &Context, arguments: RemoveArguments) -> Result<(), Failure> {
    let mut query = Vec::new();
    if arguments.force {
        query.push(("force", "1".to_owned()));
    }
    if arguments.no_prune {
        query.push(("noprune", "1".to_owned()));
    }
    let mut failures = Vec::new();
    for image in &arguments.images {
        match context.client.delete(&format!("/images/{}", escape_path(image)), &query).await {
            Ok(changes) => print_changes(context, changes.list_itself())?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::join(failures)
}

fn print_changes(context: &Context, changes: &[Value]) -> Result<(), Failure> {
    for change in changes {
        if change.has("Deleted") {
            context.line(format!("Deleted: {}", change.text("Deleted")))?;
        } else {
            context.line(format!("Untagged: {}", change.text("Untagged")))?;
        }
    }
    Ok(())
}

async fn prune(context: &Context, arguments: PruneArguments) -> Result<(), Failure> {
    if !arguments.force {
        let which = if arguments.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        };
        if !terminal::confirm(context, &format!("WARNING! This will remove {which}."))? {
            return Err(Failure::new("image prune has been cancelled"));
        }
    }
    let mut filters = Filters::from_arguments(&arguments.filter.filter);
    filters.add("dangling", if arguments.all { "false" } else { "true" });
    let report = context.client.post("/images/prune", &filters.query(), Payload::Nothing).await?;
    if !report.list("ImagesDeleted").is_empty() {
        context.line("Deleted Images:")?;
        for change in report.list("ImagesDeleted") {
            let (verb, name) = if change.has("Untagged") { ("untagged", "Untagged") } else { ("deleted", "Deleted") };
            context.line(format!("{verb}: {}", change.text(name)))?;
        }
        context.line("")?;
    }
    context.line(format!("Total reclaimed space: {}", long_decimal_size(report.float("SpaceReclaimed"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_and_completed() {
        assert_eq!(split_name("localhost:5000/a"), ("localhost:5000/a".into(), "latest".into()));
        assert_eq!(split_name("a/b:1"), ("a/b".into(), "1".into()));
        assert_eq!(split_name("a@sha256:ff"), ("a".into(), "sha256:ff".into()));
        assert_eq!(canonical("busybox:1"), "docker.io/library/busybox:1");
        assert_eq!(canonical("localhost:5000/a:1"), "localhost:5000/a:1");
    }
}
