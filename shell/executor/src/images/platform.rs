//! Which entry of a multi-platform image suits this host.

use serde::Deserialize;

use super::config::host_architecture;
use super::digest::ContentDigest;
use super::error::ImageError;

/// `os/architecture[/variant]`, by Go's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
    pub(super) variant: String,
}

/// A manifest or layer as another manifest names it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: ContentDigest,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    pub(super) urls: Option<Vec<String>>,
    #[serde(default)]
    pub(super) annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Platform {
    pub(super) fn host() -> Self {
        Self { os: "linux".to_owned(), architecture: host_architecture().to_owned(), variant: String::new() }
    }

    /// `linux/arm64/v8`; empty means the host's.
    pub(super) fn parse(text: &str) -> Result<Self, ImageError> {
        let mut parts = text.split('/').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(os), None, ..) if os.is_empty() => Ok(Self::host()),
            (Some(os), Some(architecture), variant, None) if os == "linux" && !architecture.is_empty() => {
                Ok(Self { os, architecture, variant: variant.unwrap_or_default() })
            }
            _ => Err(ImageError::InvalidImage(format!("platform {text:?} is not linux/<architecture>[/<variant>]"))),
        }
    }

    /// The best entry: the same variant if there is one, else the first of the same architecture.
    pub(super) fn choose<'a>(&self, entries: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let fits = |entry: &&Descriptor| {
            entry.platform.as_ref().is_some_and(|found| found.os == self.os && found.architecture == self.architecture)
        };
        let variant = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|found| found.variant == self.variant);
        entries.iter().filter(fits).find(variant).or_else(|| entries.iter().find(fits))
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(formatter, "/{}", self.variant) }
    }
}
