//! docker's own file of registry logins: `config.json` in `DOCKER_CONFIG`, else in `~/.docker`.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::failure::Failure;
use crate::value::Value;

/// Docker Hub's name in the file.
pub const DOCKER_HUB: &str = "https://index.docker.io/v1/";
const AUTHS: &str = "auths";

/// The file, as it was read.
pub struct Logins {
    /// Empty where there is no place for one.
    path: PathBuf,
    config: Value,
}

impl Logins {
    /// Reads the file; without one there are no logins.
    pub fn load() -> Result<Self, Failure> {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
        let directory = std::env::var_os("DOCKER_CONFIG").filter(|set| !set.is_empty()).map(Into::into).or_else(home);
        let Some(directory) = directory else { return Ok(Self { path: PathBuf::new(), config: Value::empty_map() }) };
        let path = directory.join("config.json");
        let config = match fs::read(&path) {
            Ok(bytes) => Value::parse(&bytes).map_err(|_| Failure::new(format!("{}: no JSON", path.display())))?,
            Err(error) if error.kind() == ErrorKind::NotFound => Value::empty_map(),
            Err(error) => return Err(Failure::new(format!("{}: {error}", path.display()))),
        };
        Ok(Self { path, config })
    }

    /// Where they are kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The program that docker keeps logins with instead, if there is one.
    pub fn helper(&self) -> Option<&str> {
        Some(self.config.text("credsStore")).filter(|helper| !helper.is_empty())
    }

    /// What is kept for a registry.
    pub fn of(&self, registry: &str) -> Option<&Value> {
        self.config.get(AUTHS).and_then(|auths| auths.get(registry))
    }

    /// Keeps a login in place of an earlier one.
    pub fn set(&mut self, registry: &str, username: &str, password: &str) -> Result<(), Failure> {
        self.config.remove(AUTHS, registry);
        let auth = Value::map([("auth", Value::from(STANDARD.encode(format!("{username}:{password}"))))]);
        let auths = self.config.place(AUTHS);
        if !matches!(auths, Value::Map(_)) {
            *auths = Value::empty_map();
        }
        if let Value::Map(auths) = auths {
            auths.push((registry.to_owned(), auth));
        }
        self.save()
    }

    /// Forgets a login; whether there was one.
    pub fn remove(&mut self, registry: &str) -> Result<bool, Failure> {
        let was = self.config.remove(AUTHS, registry);
        if was {
            self.save()?;
        }
        Ok(was)
    }

    /// The file is replaced as a whole, and readable by its owner alone.
    fn save(&self) -> Result<(), Failure> {
        if self.path.as_os_str().is_empty() {
            return Err(Failure::new("there is no place for logins: set HOME or DOCKER_CONFIG"));
        }
        let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", self.path.display()));
        let directory = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(failed)?;
        let new = self.path.with_extension(format!("json.{}", std::process::id()));
        let written = fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(self.config.to_json().as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&new, &self.path));
        if written.is_err() {
            // It may never have been made; the first error is the one to tell.
            let _ = fs::remove_file(&new);
        }
        written.map_err(failed)
    }
}
