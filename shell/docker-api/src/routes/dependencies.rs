//! `/secrets` and `/configs`: the same five routes twice.

use http::StatusCode;
use serde_json::json;
use skep_model::Verbatim;
use skep_model::pb::messages as m;
use skep_model::pb::types;

use crate::api::Api;
use crate::json::{ConfigSpec, SecretSpec};
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;
use crate::{convert, filters, lookup};

/// Templates came with this API version.
const TEMPLATING_SINCE: u32 = 37;

/// Declares the routes of one kind.
macro_rules! dependency {
    ($module:ident, $kind:literal, $spec:ident, $into:ident, $out:ident, $lookup:ident, $filters:ident,
     $list:ident.$many:ident, $create:ident.$one:ident, $update:ident { $id:ident, $version:ident }, $remove:ident) => {
        pub(crate) mod $module {
            use super::*;

            pub(crate) async fn list(api: &Api, request: Request) -> Answer {
                api.manager()?;
                let filters = filters::$filters(&request.query)?;
                let (response, stale) = api.read(m::$list { filters: Some(filters) }).await?;
                let list: Vec<_> = response.$many.iter().map(|object| convert::secret::$out(&object.value)).collect();
                Ok(reply::stale(reply::json(StatusCode::OK, &list)?, stale))
            }

            pub(crate) async fn inspect(api: &Api, id: &str) -> Answer {
                api.manager()?;
                let (object, stale) = lookup::$lookup(api, id).await?;
                Ok(reply::stale(reply::ok(&convert::secret::$out(&object.value))?, stale))
            }

            pub(crate) async fn create(api: &Api, mut request: Request) -> Answer {
                api.manager()?;
                let spec: $spec = request.json().await?;
                if spec.templating.is_some() && request.version.0 < TEMPLATING_SINCE {
                    return Err(Failure::bad_request(format!(
                        concat!($kind, " templating is not supported on the specified API version: {}"),
                        request.version
                    )));
                }
                let spec = Verbatim::new(convert::secret::$into(spec));
                let created = api.write(m::$create { spec: Some(spec) }).await?;
                let id = created.$one.map(|object| object.value.id).unwrap_or_default();
                reply::json(StatusCode::CREATED, &json!({ "ID": id }))
            }

            pub(crate) async fn update(api: &Api, mut request: Request, id: &str) -> Answer {
                api.manager()?;
                let spec: $spec = request.json().await?;
                let version = request.query.version($kind)?;
                let (object, _) = lookup::$lookup(api, id).await?;
                let update = m::$update {
                    $id: object.value.id,
                    $version: Some(types::Version { index: version }),
                    spec: Some(Verbatim::new(convert::secret::$into(spec))),
                };
                api.write(update).await?;
                Ok(reply::empty(StatusCode::OK))
            }

            pub(crate) async fn remove(api: &Api, id: &str) -> Answer {
                api.manager()?;
                let (object, _) = lookup::$lookup(api, id).await?;
                api.write(m::$remove { $id: object.value.id }).await?;
                Ok(reply::empty(StatusCode::NO_CONTENT))
            }
        }
    };
}

dependency!(
    secrets,
    "secret",
    SecretSpec,
    secret_in,
    secret_out,
    secret,
    secrets,
    ListSecretsRequest.secrets,
    CreateSecretRequest.secret,
    UpdateSecretRequest { secret_id, secret_version },
    RemoveSecretRequest
);
dependency!(
    configs,
    "config",
    ConfigSpec,
    config_in,
    config_out,
    config,
    configs,
    ListConfigsRequest.configs,
    CreateConfigRequest.config,
    UpdateConfigRequest { config_id, config_version },
    RemoveConfigRequest
);
