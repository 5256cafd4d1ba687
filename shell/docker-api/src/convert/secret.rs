//! Secrets and configs.

use skep_model::pb::objects as pb;
use skep_model::pb::types;

use super::{annotations, driver, driver_in, meta};
use crate::json;

/// A secret, outwards; its data never leaves.
pub(crate) fn secret_out(secret: &pb::Secret) -> json::Secret<'_> {
    let (version, created_at, updated_at) = meta(secret.meta.as_ref());
    let spec = secret.spec.as_deref();
    let (name, labels) = annotations(spec.and_then(|spec| spec.annotations.as_ref()));
    json::Secret {
        id: super::text(&secret.id),
        version,
        created_at,
        updated_at,
        spec: json::SecretSpec {
            name,
            labels,
            data: json::Base64::default(),
            driver: spec.and_then(|spec| spec.driver.as_ref()).map(driver),
            templating: spec.and_then(|spec| spec.templating.as_ref()).map(driver),
        },
    }
}

/// A secret's spec, inwards.
pub(crate) fn secret_in(spec: json::SecretSpec<'_>) -> types::SecretSpec {
    types::SecretSpec {
        annotations: Some(types::Annotations {
            name: spec.name.into_owned(),
            labels: spec.labels.into_owned(),
            indices: Vec::new(),
        }),
        data: spec.data.0,
        templating: spec.templating.map(driver_in),
        driver: spec.driver.map(driver_in),
    }
}

/// A config, outwards, with its data.
pub(crate) fn config_out(config: &pb::Config) -> json::Config<'_> {
    let (version, created_at, updated_at) = meta(config.meta.as_ref());
    let spec = config.spec.as_deref();
    let (name, labels) = annotations(spec.and_then(|spec| spec.annotations.as_ref()));
    json::Config {
        id: super::text(&config.id),
        version,
        created_at,
        updated_at,
        spec: json::ConfigSpec {
            name,
            labels,
            data: json::Base64(spec.map(|spec| spec.data.clone()).unwrap_or_default()),
            templating: spec.and_then(|spec| spec.templating.as_ref()).map(driver),
        },
    }
}

/// A config's spec, inwards.
pub(crate) fn config_in(spec: json::ConfigSpec<'_>) -> types::ConfigSpec {
    types::ConfigSpec {
        annotations: Some(types::Annotations {
            name: spec.name.into_owned(),
            labels: spec.labels.into_owned(),
            indices: Vec::new(),
        }),
        data: spec.data.0,
        templating: spec.templating.map(driver_in),
    }
}
