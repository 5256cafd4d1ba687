//! `docker exec`: a further process in a container, its streams on the connection itself.

use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use serde_json::json;
use skep_model::engine::{ContainerState, ExecSpec};
use tokio_stream::wrappers::ReceiverStream;

use super::containers;
use crate::api::Api;
use crate::convert::engine as convert;
use crate::frames::Packing;
use crate::json::shape;
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;
use crate::upgrade;

shape!(ExecCreate {
    user: String => "User",
    privileged: bool => "Privileged",
    tty: bool => "Tty",
    attach_stdin: bool => "AttachStdin",
    attach_stderr: bool => "AttachStderr",
    attach_stdout: bool => "AttachStdout",
    env: Vec<String> => "Env",
    working_dir: String => "WorkingDir",
    command: Vec<String> => "Cmd",
});

shape!(ExecStart {
    detach: bool => "Detach",
    tty: bool => "Tty",
    console_size: Option<[u16; 2]> => "ConsoleSize",
});

pub(crate) async fn create(api: &Api, mut request: Request, id: &str) -> Answer {
    let create: ExecCreate = request.json().await?;
    if create.command.is_empty() {
        return Err(Failure::bad_request("No exec command specified"));
    }
    let container = containers::find(api, id).await?;
    if container.state != ContainerState::Running {
        return Err(Failure::new(StatusCode::CONFLICT, format!("container {} is not running", container.id)));
    }
    let spec = ExecSpec {
        container_id: container.id,
        command: create.command,
        env: create.env,
        working_dir: create.working_dir,
        user: create.user,
        tty: create.tty,
        attach_stdin: create.attach_stdin,
        attach_stdout: create.attach_stdout,
        attach_stderr: create.attach_stderr,
        privileged: create.privileged,
    };
    let id = api.engine.create_exec(spec).await?;
    reply::json(StatusCode::CREATED, &json!({ "Id": id }))
}

pub(crate) async fn inspect(api: &Api, id: &str) -> Answer {
    reply::ok(&convert::exec(&api.engine.exec(id).await?))
}

pub(crate) async fn resize(api: &Api, request: Request, id: &str) -> Answer {
    let size = |key: &str, word: &str| {
        let text = request.query.get(key);
        text.parse::<u16>().map_err(|_| Failure::bad_request(format!("invalid resize {word} {text:?}")))
    };
    let (rows, columns) = (size("h", "height")?, size("w", "width")?);
    api.engine.resize_exec(id, rows, columns).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn start(api: &Api, mut request: Request, id: &str) -> Answer {
    let start: ExecStart = request.json_or_default().await?;
    let state = api.engine.exec(id).await?;
    let mut streams = api.engine.start_exec(id, start.detach).await?;
    if let Some([rows, columns]) = start.console_size.filter(|_| state.spec.tty) {
        // The process runs already; without a size its terminal keeps the default.
        if let Err(refusal) = api.engine.resize_exec(id, rows, columns).await {
            tracing::debug!(exec = id, error = %refusal, "the terminal's first size was not set");
        }
    }
    if start.detach {
        return Ok(reply::empty(StatusCode::OK));
    }
    let packing = Packing::of_terminal(state.spec.tty);
    let media_type = packing.media_type(request.version);
    let wants_upgrade = request.headers().contains_key(UPGRADE);
    let Some(upgrade) = request.upgrade.take().filter(|_| wants_upgrade) else {
        // Old clients read the output from the answer; there is no way for input.
        streams.input = None;
        let output = ReceiverStream::new(streams.output).map(move |(stream, data)| packing.pack(stream.into(), &data));
        let output = output.take_until(api.stop.clone().cancelled_owned());
        return Ok(reply::stream(media_type, output));
    };
    let stop = api.stop.clone();
    tokio::spawn(async move { upgrade::join(upgrade, streams, packing, stop).await });
    let mut reply = Response::new(reply::full(Bytes::new()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(reply)
}
