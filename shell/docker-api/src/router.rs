//! Which route answers a path. Start reading here: every path that is served stands in `dispatch`.

use http::header::{HOST, HeaderName, HeaderValue, SERVER};
use http::{Request as HttpRequest, StatusCode};

use crate::api::Api;
use crate::auth;
use crate::half_close::RequestBody;
use crate::host_header;
use crate::reply::{self, Answer, Reply};
use crate::request::{Query, Request, decode};
use crate::routes::dependencies::{configs, secrets};
use crate::routes::{
    containers, events, exec, images, network_use, networks, nodes, services, swarm, swarm_logs, system, tasks,
};
use crate::status::Failure;
use crate::version;

/// What Docker knows and Skep does not do (yet): the first parts of a path (`*` is any part), and why.
const NOT_SERVED: [(&str, &str); 13] = [
    ("build", "images cannot be built here: build them elsewhere and load, import or pull them"),
    ("session", "images cannot be built here: build them elsewhere and load, import or pull them"),
    ("grpc", "images cannot be built here: build them elsewhere and load, import or pull them"),
    ("commit", "containers cannot be made into images here"),
    ("containers/create", "single containers cannot be made here: create a service"),
    ("containers/prune", "ended containers are removed by the swarm itself, by its task history limit"),
    ("containers/*", "this is not done to a single container: its service makes, changes and removes it"),
    ("images/search", "registries are not searched"),
    ("images/get", "images cannot be saved from here"),
    ("images/*", "this is not done to an image here: load, import, pull, tag, remove and prune are"),
    ("volumes", "volumes are made by the tasks that mount them and cannot be managed by themselves yet"),
    ("plugins", "plugins are not supported"),
    ("networks/*", "single containers cannot be attached to networks: give the network to a service"),
];

/// Answers one request; never fails.
pub(crate) async fn respond(api: Api, mut http: HttpRequest<RequestBody>) -> Reply {
    let upgrade = Some(hyper::upgrade::on(&mut http));
    let (parts, body) = http.into_parts();
    let method = parts.method.as_str().to_owned();
    let path = parts.uri.path().to_owned();
    if let Some(hostname) = &api.only_host {
        let host = parts.headers.get(HOST).and_then(|value| value.to_str().ok());
        if let Err(failure) = host_header::check(host.unwrap_or_default(), hostname) {
            return reply::failure(&failure);
        }
    }
    let answer = match version::split(&path) {
        Ok((version, rest)) => {
            let query = Query::parse(parts.uri.query().unwrap_or_default());
            let body_idle = api.patience.body_idle;
            let request = Request { parts, body, version, query, upgrade, body_idle };
            dispatch(&api, &method, rest, request).await
        }
        Err(failure) => Err(failure),
    };
    let mut reply = answer.unwrap_or_else(|failure| {
        tracing::debug!(method, path, status = failure.status.as_u16(), error = failure.message, "request refused");
        reply::failure(&failure)
    });
    brand(&mut reply);
    reply
}

/// Headers by which clients find out what they talk to.
fn brand(reply: &mut Reply) {
    let headers = reply.headers_mut();
    headers.insert(HeaderName::from_static("api-version"), HeaderValue::from_static("1.52"));
    headers.insert(HeaderName::from_static("ostype"), HeaderValue::from_static("linux"));
    headers.insert(HeaderName::from_static("docker-experimental"), HeaderValue::from_static("false"));
    headers.insert(SERVER, HeaderValue::from_static(concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux)")));
}

async fn dispatch(api: &Api, method: &str, path: &str, request: Request) -> Answer {
    let parts: Vec<_> = path.split('/').skip(1).map(|part| decode(part, false)).collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(page_not_found());
    }
    match parts.first().copied().unwrap_or_default() {
        "swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs" | "networks" => {
            dispatch_swarm(api, method, &parts, request).await
        }
        "containers" | "exec" | "images" | "distribution" => dispatch_engine(api, method, &parts, request).await,
        _ => match (method, parts.as_slice()) {
            ("GET" | "HEAD", ["_ping"]) => system::ping(api),
            ("GET", ["version"]) => system::version(api).await,
            ("GET", ["info"]) => system::info(api).await,
            ("GET", ["events"]) => events::events(api, request).await,
            ("POST", ["auth"]) => auth::check(api, request).await,
            ("GET", ["system", "df"]) => system::disk_usage(api, request).await,
            // `docker inspect NAME` asks for these among others, and goes on only where nothing is found.
            ("GET", ["volumes", name]) => Err(Failure::not_found(format!("get {name}: no such volume"))),
            ("GET", ["plugins", name, "json"]) => Err(Failure::not_found(format!("plugin {name:?} not found"))),
            _ => Err(not_served(&parts)),
        },
    }
}

async fn dispatch_swarm(api: &Api, method: &str, parts: &[&str], request: Request) -> Answer {
    match (method, parts) {
        ("GET", ["swarm"]) => swarm::inspect(api).await,
        ("POST", ["swarm", "init"]) => swarm::init(api, request).await,
        ("POST", ["swarm", "join"]) => swarm::join(api, request).await,
        ("POST", ["swarm", "leave"]) => swarm::leave(api, request).await,
        ("POST", ["swarm", "update"]) => swarm::update(api, request).await,
        ("GET", ["swarm", "unlockkey"]) => swarm::unlock_key(api).await,
        ("POST", ["swarm", "unlock"]) => swarm::unlock(api, request).await,

        ("GET", ["nodes"]) => nodes::list(api, request).await,
        ("GET", ["nodes", id]) => nodes::inspect(api, id).await,
        ("DELETE", ["nodes", id]) => nodes::remove(api, request, id).await,
        ("POST", ["nodes", id, "update"]) => nodes::update(api, request, id).await,

        ("GET", ["services"]) => services::list(api, request).await,
        ("POST", ["services", "create"]) => services::create(api, request).await,
        ("GET", ["services", id]) => services::inspect(api, request, id).await,
        ("DELETE", ["services", id]) => services::remove(api, id).await,
        ("POST", ["services", id, "update"]) => services::update(api, request, id).await,
        ("GET", ["services", id, "logs"]) => swarm_logs::of_service(api, request, id).await,

        ("GET", ["tasks"]) => tasks::list(api, request).await,
        ("GET", ["tasks", id]) => tasks::inspect(api, id).await,
        ("GET", ["tasks", id, "logs"]) => swarm_logs::of_task(api, request, id).await,

        ("GET", ["secrets"]) => secrets::list(api, request).await,
        ("POST", ["secrets", "create"]) => secrets::create(api, request).await,
        ("GET", ["secrets", id]) => secrets::inspect(api, id).await,
        ("DELETE", ["secrets", id]) => secrets::remove(api, id).await,
        ("POST", ["secrets", id, "update"]) => secrets::update(api, request, id).await,

        ("GET", ["configs"]) => configs::list(api, request).await,
        ("POST", ["configs", "create"]) => configs::create(api, request).await,
        ("GET", ["configs", id]) => configs::inspect(api, id).await,
        ("DELETE", ["configs", id]) => configs::remove(api, id).await,
        ("POST", ["configs", id, "update"]) => configs::update(api, request, id).await,

        ("GET", ["networks"]) => networks::list(api, request).await,
        ("POST", ["networks", "create"]) => networks::create(api, request).await,
        ("POST", ["networks", "prune"]) => network_use::prune(api, request).await,
        ("GET", ["networks", id]) => networks::inspect(api, request, id).await,
        ("DELETE", ["networks", id]) => networks::remove(api, id).await,
        _ => Err(not_served(parts)),
    }
}

async fn dispatch_engine(api: &Api, method: &str, parts: &[&str], request: Request) -> Answer {
    match (method, parts) {
        ("GET", ["containers", "json"]) => containers::list(api, request).await,
        ("GET", ["containers", id, "json"]) => containers::inspect(api, id).await,
        ("GET", ["containers", id, "logs"]) => containers::logs(api, request, id).await,
        ("GET", ["containers", id, "top"]) => containers::top(api, request, id).await,
        ("GET", ["containers", id, "stats"]) => containers::stats(api, request, id).await,
        ("POST", ["containers", id, "stop"]) => containers::stop(api, request, id).await,
        ("POST", ["containers", id, "kill"]) => containers::kill(api, request, id).await,
        ("POST", ["containers", id, "exec"]) => exec::create(api, request, id).await,
        ("POST", ["exec", id, "start"]) => exec::start(api, request, id).await,
        ("POST", ["exec", id, "resize"]) => exec::resize(api, request, id).await,
        ("GET", ["exec", id, "json"]) => exec::inspect(api, id).await,

        ("POST", ["images", "create"]) => images::create(api, request).await,
        ("POST", ["images", "load"]) => images::load(api, request).await,
        ("POST", ["images", "prune"]) => images::prune(api, request).await,
        ("GET", ["images", "json"]) => images::list(api, request).await,
        // Names of images contain slashes.
        ("GET", ["images", name @ .., "json"]) => images::inspect(api, &name.join("/")).await,
        ("POST", ["images", name @ .., "tag"]) if !name.is_empty() => images::tag(api, request, &name.join("/")).await,
        ("DELETE", ["images", name @ ..]) if !name.is_empty() => images::remove(api, request, &name.join("/")).await,
        ("GET", ["distribution", name @ .., "json"]) if !name.is_empty() => {
            images::distribution(api, request, &name.join("/")).await
        }
        _ => Err(not_served(parts)),
    }
}

fn page_not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "page not found")
}

/// A sentence for what Docker knows, `page not found` for the rest.
fn not_served(parts: &[&str]) -> Failure {
    let matches = |pattern: &str| {
        let mut wanted = pattern.split('/');
        wanted.by_ref().zip(parts).all(|(wanted, part)| wanted == "*" || wanted == *part)
            && pattern.split('/').count() <= parts.len()
    };
    match NOT_SERVED.iter().find(|(pattern, _)| matches(pattern)) {
        Some((_, why)) => Failure::not_implemented(format!("/{}: {why}", parts.join("/"))),
        None => page_not_found(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_paths_get_a_sentence_and_unknown_ones_none() {
        for (path, status) in [
            ("build", 501),
            ("containers/create", 501),
            ("containers/abc/restart", 501),
            ("volumes", 501),
            ("volumes/x", 501),
            ("plugins/x/enable", 501),
            ("images/a/b/push", 501),
            ("networks/x/connect", 501),
            ("nope", 404),
            ("services/x/y", 404),
        ] {
            let parts: Vec<&str> = path.split('/').collect();
            assert_eq!(not_served(&parts).status.as_u16(), status, "{path}");
        }
        assert_eq!(page_not_found().message, "page not found");
    }

    #[test]
    fn the_version_header_tells_the_newest() {
        let mut reply = reply::empty(StatusCode::OK);
        brand(&mut reply);
        assert_eq!(reply.headers()["api-version"], version::NEWEST.to_string().as_str());
    }
}
