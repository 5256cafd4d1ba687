//! `/tasks`.

use http::StatusCode;
use skep_model::pb::messages as m;

use crate::api::Api;
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::{convert, filters, lookup};

pub(crate) async fn list(api: &Api, request: Request) -> Answer {
    api.manager()?;
    let mut filters = filters::tasks(&request.query)?;
    for input in &mut filters.service_ids {
        *input = lookup::service(api, input).await?.0.value.id;
    }
    for input in &mut filters.node_ids {
        *input = lookup::node(api, input).await?.0.value.id;
    }
    let (response, stale) = api.read(m::ListTasksRequest { filters: Some(filters) }).await?;
    let tasks: Vec<_> = response.tasks.iter().map(|task| convert::task::out(&task.value)).collect();
    Ok(reply::stale(reply::json(StatusCode::OK, &tasks)?, stale))
}

pub(crate) async fn inspect(api: &Api, id: &str) -> Answer {
    api.manager()?;
    let (task, stale) = lookup::task(api, id).await?;
    Ok(reply::stale(reply::ok(&convert::task::out(&task.value))?, stale))
}
