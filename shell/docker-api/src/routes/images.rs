//! `/images` and `/distribution`.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::StatusCode;
use serde_json::{Value, json};
use skep_model::engine::{Image, PullProgress};
use skep_model::{Refusal, WallTime};
use tokio_stream::wrappers::ReceiverStream;

use super::moment;
use crate::api::Api;
use crate::auth;
use crate::convert::engine as convert;
use crate::engine::{ImportRequest, PruneRequest};
use crate::filters::Filters;
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;

/// `docker pull`, or `docker import` of what follows.
pub(crate) async fn create(api: &Api, request: Request) -> Answer {
    let query = &request.query;
    let platform = Some(query.get("platform").to_owned()).filter(|platform| !platform.is_empty());
    match (query.get("fromImage"), query.get("fromSrc")) {
        ("", "") => Err(Failure::bad_request("one of fromImage and fromSrc must be given")),
        ("", "-") => import(api, request, platform.unwrap_or_default()).await,
        ("", _) => Err(Failure::not_implemented(
            "fromSrc can only be \"-\": fetch the archive yourself and send it as the request's body",
        )),
        (image, _) => {
            let reference = match query.get("tag") {
                "" => image.to_owned(),
                digest if digest.contains(':') => format!("{image}@{digest}"),
                tag => format!("{image}:{tag}"),
            };
            let credentials = auth::of(&request)?;
            pull(api, &reference, platform.as_deref(), credentials).await
        }
    }
}

async fn pull(
    api: &Api,
    reference: &str,
    platform: Option<&str>,
    credentials: Option<skep_model::engine::RegistryAuth>,
) -> Answer {
    let mut progress = api.engine.pull(reference, platform, credentials).await?;
    // What fails at once gets its own status.
    let first = match progress.recv().await {
        Some(Err(refusal)) => return Err(refusal.into()),
        Some(Ok(first)) => Some(Ok(first)),
        None => None,
    };
    let lines = stream::iter(first).chain(ReceiverStream::new(progress)).map(progress_line);
    let lines = lines.take_until(api.stop.clone().cancelled_owned());
    Ok(reply::stream("application/json", lines))
}

fn line(value: Value) -> Bytes {
    Bytes::from(format!("{value}\r\n"))
}

fn progress_line(step: Result<PullProgress, Refusal>) -> Bytes {
    match step {
        Err(refusal) => line(json!({ "errorDetail": { "message": refusal.message }, "error": refusal.message })),
        Ok(step) => {
            let mut value = json!({ "status": step.status });
            if !step.id.is_empty() {
                value["id"] = json!(step.id);
                value["progressDetail"] = if step.total_bytes > 0 {
                    json!({ "current": step.current_bytes, "total": step.total_bytes })
                } else {
                    json!({})
                };
            }
            line(value)
        }
    }
}

async fn import(api: &Api, request: Request, platform: String) -> Answer {
    let query = &request.query;
    let reference = match (query.get("repo"), query.get("tag")) {
        ("", _) => String::new(),
        (repository, "") => repository.to_owned(),
        (repository, tag) => format!("{repository}:{tag}"),
    };
    let import = ImportRequest {
        reference,
        changes: query.all("changes").map(str::to_owned).collect(),
        message: query.get("message").to_owned(),
        platform,
    };
    let id = api.engine.import(request.into_reader(), import).await?;
    Ok(reply::stream("application/json", stream::iter([line(json!({ "status": id }))])))
}

pub(crate) async fn load(api: &Api, request: Request) -> Answer {
    let loaded = api.engine.load(request.into_reader()).await?;
    let lines = loaded.into_iter().map(|name| {
        let word = if name.starts_with("sha256:") { "Loaded image ID" } else { "Loaded image" };
        line(json!({ "stream": format!("{word}: {name}\n") }))
    });
    Ok(reply::stream("application/json", stream::iter(lines.collect::<Vec<_>>())))
}

pub(crate) async fn list(api: &Api, request: Request) -> Answer {
    let filters = Filters::parse(&request.query, &["dangling", "label", "reference", "before", "since", "until"])?;
    let mut images = api.engine.images().await?;
    let made = |key: &str| -> Result<Option<WallTime>, Failure> {
        let Some(wanted) = filters.get(key).first() else { return Ok(None) };
        let found = images.iter().find(|image| image.id == *wanted || image.repo_tags.contains(wanted));
        let found = found.ok_or_else(|| Failure::not_found(format!("No such image: {wanted}")))?;
        Ok(Some(found.created_at))
    };
    let (before, since) = (made("before")?, made("since")?);
    let until = filters.get("until").first().map(|text| moment(text)).transpose()?;
    images.retain(|image| {
        let dangling = image.repo_tags.is_empty();
        let wanted = filters.get("dangling").iter().all(|word| matches!(word.as_str(), "true" | "1") == dangling);
        let named = !filters.has("reference")
            || filters.get("reference").iter().any(|pattern| image.repo_tags.iter().any(|tag| names(pattern, tag)));
        wanted
            && named
            && before.is_none_or(|before| image.created_at < before)
            && since.is_none_or(|since| image.created_at > since)
            && until.is_none_or(|until| image.created_at < until)
            && filters.admits_labels("label", &image.config.labels)
    });
    images.sort_by_key(|image| std::cmp::Reverse(image.created_at));
    let list: Vec<Value> = images.iter().map(|image| convert::image_summary(image, -1)).collect();
    reply::ok(&list)
}

/// Whether a pattern (`busybox`, `busybox:1.*`) names a tagged image.
fn names(pattern: &str, tagged: &str) -> bool {
    let bare = tagged.rsplit_once(':').map_or(tagged, |(name, _)| name);
    glob(pattern.as_bytes(), tagged.as_bytes()) || glob(pattern.as_bytes(), bare.as_bytes())
}

/// `*` stands for any run without a slash, `?` for one such character.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => glob(rest, text),
        (Some((b'*', rest)), Some((next, tail))) => glob(rest, text) || (*next != b'/' && glob(pattern, tail)),
        (Some((b'?', rest)), Some((next, tail))) => *next != b'/' && glob(rest, tail),
        (Some((wanted, rest)), Some((next, tail))) => wanted == next && glob(rest, tail),
        _ => false,
    }
}

pub(crate) async fn inspect(api: &Api, name: &str) -> Answer {
    reply::ok(&convert::image_inspect(&api.engine.image(name).await?))
}

pub(crate) async fn tag(api: &Api, request: Request, name: &str) -> Answer {
    let target = match (request.query.get("repo"), request.query.get("tag")) {
        ("", _) => return Err(Failure::bad_request("repo must name the image's new name")),
        (repository, "") => repository.to_owned(),
        (repository, tag) => format!("{repository}:{tag}"),
    };
    api.engine.tag(name, &target).await?;
    Ok(reply::empty(StatusCode::CREATED))
}

pub(crate) async fn remove(api: &Api, request: Request, name: &str) -> Answer {
    let changes = api.engine.remove_image(name, request.query.flag("force")).await?;
    reply::ok(&convert::image_changes(&changes))
}

pub(crate) async fn prune(api: &Api, request: Request) -> Answer {
    let filters = Filters::parse(&request.query, &["dangling", "until", "label", "label!"])?;
    let prune = PruneRequest {
        dangling_only: !filters.get("dangling").iter().any(|word| matches!(word.as_str(), "false" | "0")),
        until: filters.get("until").first().map(|text| moment(text)).transpose()?,
        labels: filters.get("label").to_vec(),
        not_labels: filters.get("label!").to_vec(),
    };
    let report = api.engine.prune_images(prune).await?;
    let changes = convert::image_changes(&report.changes);
    let changes = if changes.is_empty() { Value::Null } else { Value::from(changes) };
    reply::ok(&json!({ "ImagesDeleted": changes, "SpaceReclaimed": report.reclaimed_bytes }))
}

pub(crate) async fn distribution(api: &Api, request: Request, name: &str) -> Answer {
    let found = api.engine.distribution(name, auth::of(&request)?).await?;
    let platforms: Vec<Value> = found
        .platforms
        .iter()
        .map(|(architecture, os, variant)| {
            let mut platform = BTreeMap::from([("architecture", architecture), ("os", os)]);
            if !variant.is_empty() {
                platform.insert("variant", variant);
            }
            json!(platform)
        })
        .collect();
    reply::ok(&json!({
        "Descriptor": { "mediaType": found.media_type, "digest": found.digest, "size": found.size_bytes },
        "Platforms": platforms,
    }))
}

/// Bytes that images take.
pub(crate) fn total_size(images: &[Image]) -> u64 {
    images.iter().map(|image| image.size_bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_images() {
        for (pattern, tagged, expected) in [
            ("busybox", "busybox:latest", true),
            ("busybox:1.*", "busybox:1.36", true),
            ("busybox:1.*", "busybox:2.0", false),
            ("*box", "busybox:latest", true),
            ("*", "quay.io/a/b:1", false),
            ("quay.io/*/b", "quay.io/a/b:1", true),
        ] {
            assert_eq!(names(pattern, tagged), expected, "{pattern} {tagged}");
        }
    }
}
