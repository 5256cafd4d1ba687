//! Plugins that run on this host, in Docker's first protocol: JSON over HTTP on a socket (source: moby's `pkg/plugins`).
//!
//! It must never know the swarm: whom to ask for what is in its arguments. Flow: [`Plugins::secret`] → `find` (a file
//! in a plugin directory says where the plugin listens) → `call` (activate it once, ask) → `secrets` (the JSON).

mod call;
mod find;
mod secrets;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use skep_manager::{DriverFailure, SecretRequest, SecretValue};

use self::call::Answer;
use self::find::Address;

/// How long a plugin may take for one question, its activation included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of what a plugin said that are passed on.
const WORDS_MAX: usize = 512;
/// What a plugin with secrets says that it implements.
const SECRET_PROVIDER: &str = "secretprovider";

/// The plugins of this host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Plugins {
    directories: Arc<[PathBuf]>,
    /// Those that said that they have secrets, until one of their answers fails.
    activated: Arc<Mutex<BTreeSet<Address>>>,
}

/// The answer to `Plugin.Activate`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    #[serde(default)]
    implements: Option<Vec<String>>,
}

impl Plugins {
    /// Those that files in these directories name; the first that names one counts.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories: directories.into(), activated: Arc::default() }
    }

    /// A secret's value for a task.
    pub async fn secret(&self, request: &SecretRequest) -> Result<SecretValue, DriverFailure> {
        let ask = async {
            let address = self.secret_provider(&request.driver).await?;
            let answer = call::post(&address, "/SecretProvider.GetSecret", secrets::body(request)?).await;
            let answer = self.follow(&address, answer)?;
            secrets::value(&answer.ok_or_words()?)
        };
        within(ask).await
    }

    /// Where the plugin listens, once it has said that it has secrets.
    async fn secret_provider(&self, name: &str) -> Result<Address, DriverFailure> {
        let address = find::address(&self.directories, name)?;
        if self.activated().contains(&address) {
            return Ok(address);
        }
        let answer = call::post(&address, "/Plugin.Activate", Vec::new()).await?.ok_or_words()?;
        let manifest: Manifest = serde_json::from_slice(&answer)
            .map_err(|error| DriverFailure::Unreadable { reason: format!("Plugin.Activate: {error}") })?;
        let implements = manifest.implements.unwrap_or_default();
        if !implements.iter().any(|kind| kind == SECRET_PROVIDER) {
            let implements = if implements.is_empty() { "nothing".to_owned() } else { implements.join(", ") };
            return Err(DriverFailure::OtherKind { implements });
        }
        self.activated().insert(address.clone());
        Ok(address)
    }

    /// One that cannot be talked to any more may be another when it comes back.
    fn follow<T>(&self, address: &Address, answer: Result<T, DriverFailure>) -> Result<T, DriverFailure> {
        if answer.is_err() {
            self.activated().remove(address);
        }
        answer
    }

    fn activated(&self) -> std::sync::MutexGuard<'_, BTreeSet<Address>> {
        self.activated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(ask: impl Future<Output = Result<T, DriverFailure>>) -> Result<T, DriverFailure> {
    let slow = |_| Err(DriverFailure::Slow { limit: ANSWER_TIMEOUT });
    tokio::time::timeout(ANSWER_TIMEOUT, ask).await.unwrap_or_else(slow)
}

impl Answer {
    /// The body, unless the plugin refused.
    fn ok_or_words(self) -> Result<bytes::Bytes, DriverFailure> {
        if self.status == http::StatusCode::OK {
            return Ok(self.body);
        }
        #[derive(Deserialize)]
        struct Refused {
            #[serde(rename = "Err", default)]
            err: String,
        }
        let refused = serde_json::from_slice::<Refused>(&self.body).ok().filter(|refused| !refused.err.is_empty());
        let text = refused.map_or_else(|| String::from_utf8_lossy(&self.body).into_owned(), |refused| refused.err);
        let text = if text.trim().is_empty() { self.status.to_string() } else { text };
        Err(said(&text))
    }
}

fn said(text: &str) -> DriverFailure {
    DriverFailure::Said { text: text.trim().chars().take(WORDS_MAX).collect() }
}
