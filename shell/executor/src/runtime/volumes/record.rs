//! What a volume was made with: labels, and the options that say what is mounted on it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use skep_model::{Code, Refusal};

use crate::error::{ControllerError, RuntimeError};
use crate::shim::now_nanos;
use crate::spec::PlannedMount;

const RECORD_VERSION: u32 = 1;
const RECORD_FILE: &str = "volume.json";

/// Beside the volume's data. A volume without one is a plain directory without labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeRecord {
    version: u32,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    created_at_nanos: i64,
}

impl VolumeRecord {
    /// Writes down a new volume's labels and options; refuses other options for one that is there.
    pub fn agree(planned: &PlannedMount) -> Result<(), ControllerError> {
        let Some(directory) = planned.source.parent() else { return Ok(()) };
        let path = directory.join(RECORD_FILE);
        let known = Self::load(&path)?;
        if known.is_none() && is_used(&planned.source)? {
            // Made before volumes had records, or by hand: its options are none.
            return Self::default().compare(planned);
        }
        match known {
            Some(known) => known.compare(planned),
            None => {
                let record = Self {
                    version: RECORD_VERSION,
                    labels: planned.labels.clone(),
                    options: planned.driver_options.clone(),
                    created_at_nanos: now_nanos(),
                };
                Ok(record.save(&path)?)
            }
        }
    }

    fn compare(&self, planned: &PlannedMount) -> Result<(), ControllerError> {
        if self.options == planned.driver_options {
            return Ok(());
        }
        let show = |options: &BTreeMap<String, String>| {
            let all: Vec<String> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if all.is_empty() { "none".to_owned() } else { all.join(" ") }
        };
        let (mine, asked) = (show(&self.options), show(&planned.driver_options));
        let text = format!(
            "volume {} is on this node with other driver options: it has {mine}, the service asks for {asked}; choose \
             another name",
            planned.name
        );
        Err(Refusal::new(Code::AlreadyExists, text).into())
    }

    fn load(path: &Path) -> Result<Option<Self>, RuntimeError> {
        match fs::read(path) {
            Ok(bytes) => {
                let wrong = |source| RuntimeError::Record { path: path.to_owned(), source };
                serde_json::from_slice(&bytes).map(Some).map_err(wrong)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RuntimeError::file("read", path)(error)),
        }
    }

    fn save(&self, path: &Path) -> Result<(), RuntimeError> {
        let fresh = path.with_extension("new");
        let bytes =
            serde_json::to_vec(self).map_err(|source| RuntimeError::Record { path: path.to_owned(), source })?;
        fs::write(&fresh, bytes).map_err(RuntimeError::file("write", &fresh))?;
        fs::rename(&fresh, path).map_err(RuntimeError::file("replace", path))
    }
}

fn is_used(data: &Path) -> Result<bool, RuntimeError> {
    let mut entries = fs::read_dir(data).map_err(RuntimeError::file("list", data))?;
    Ok(entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_keeps_the_options_it_was_made_with() {
        let root = tempfile::tempdir().expect("a directory");
        let source = root.path().join("data/_data");
        fs::create_dir_all(&source).expect("made");
        let asked = |options: &[(&str, &str)]| PlannedMount {
            name: "data".to_owned(),
            source: source.clone(),
            driver_options: options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            ..Default::default()
        };
        let memory = asked(&[("type", "tmpfs"), ("device", "tmpfs")]);
        VolumeRecord::agree(&memory).expect("new");
        VolumeRecord::agree(&memory).expect("the same");
        let error = VolumeRecord::agree(&asked(&[])).expect_err("another");
        assert!(error.to_string().contains("it has device=tmpfs type=tmpfs, the service asks for none"), "{error}");
        fs::remove_file(root.path().join("data/volume.json")).expect("removed");
        fs::write(source.join("file"), "old").expect("written");
        VolumeRecord::agree(&asked(&[])).expect("a plain one from before");
        assert!(VolumeRecord::agree(&memory).is_err());
    }
}
