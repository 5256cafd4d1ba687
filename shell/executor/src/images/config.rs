//! The image configuration document (OCI image-spec, with Docker's additions) and its form in the model.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skep_model::WallTime;
use skep_model::engine::{HealthCheck, Image, ImageConfig};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::digest::ContentDigest;
use super::error::ImageError;

/// Layers that one image may have (overlayfs' mount options must fit a page).
pub const MAX_LAYERS: usize = 127;

/// The document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    pub architecture: String,
    pub os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<RunConfig>,
    pub rootfs: RootFs,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<Value>>,
}

/// The layers, unpacked form, lowest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(deserialize_with = "null_as_default")]
    pub diff_ids: Vec<ContentDigest>,
}

/// What the image wants of its containers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RunConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Health>,
}

/// Durations in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Health {
    pub test: Option<Vec<String>>,
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub start_interval: u64,
    pub retries: u32,
}

fn null_as_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl ConfigDocument {
    /// Parses and checks what the rest of the store relies on.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let document: Self =
            serde_json::from_slice(bytes).map_err(|source| ImageError::Json { what: "config", source })?;
        let layers = document.rootfs.diff_ids.len();
        if layers > MAX_LAYERS {
            return Err(ImageError::InvalidImage(format!("{layers} layers, the limit is {MAX_LAYERS}")));
        }
        if !document.os.is_empty() && document.os != "linux" {
            return Err(ImageError::InvalidImage(format!("operating system {:?} is not linux", document.os)));
        }
        Ok(document)
    }

    /// As the model has it; names and size are the index's to add.
    pub fn to_image(&self, id: &ContentDigest) -> Image {
        let config = self.config.clone().unwrap_or_default();
        Image {
            id: id.to_string(),
            created_at: self.created.as_deref().and_then(parse_time).unwrap_or_default(),
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            author: self.author.clone().unwrap_or_default(),
            config: ImageConfig {
                user: config.user.unwrap_or_default(),
                env: config.env.unwrap_or_default(),
                entrypoint: config.entrypoint.unwrap_or_default(),
                command: config.cmd.unwrap_or_default(),
                working_dir: config.working_dir.unwrap_or_default(),
                labels: config.labels.unwrap_or_default(),
                exposed_ports: config.exposed_ports.unwrap_or_default().into_keys().collect(),
                volumes: config.volumes.unwrap_or_default().into_keys().collect(),
                stop_signal: config.stop_signal.filter(|signal| !signal.is_empty()),
                healthcheck: config.healthcheck.map(Health::into_model),
            },
            diff_ids: self.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
            ..Image::default()
        }
    }
}

impl Health {
    fn into_model(self) -> HealthCheck {
        HealthCheck {
            test: self.test.unwrap_or_default(),
            interval: Duration::from_nanos(self.interval),
            timeout: Duration::from_nanos(self.timeout),
            start_period: Duration::from_nanos(self.start_period),
            start_interval: Duration::from_nanos(self.start_interval),
            retries: self.retries,
        }
    }
}

fn parse_time(text: &str) -> Option<WallTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(WallTime(i64::try_from(time.unix_timestamp_nanos()).ok()?))
}

/// The present, as the document writes it.
pub fn now_text() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// This host's architecture by Go's name.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
