//! What every route has at hand: the three traits, and the sign to stop.

use std::sync::Arc;

use skep_model::{ControlCall, Refusal};
use tokio_util::sync::CancellationToken;

use crate::control::{Control, call};
use crate::engine::Engine;
use crate::limits::Patience;
use crate::status::{Failure, not_a_manager};
use crate::swarm::Swarm;

/// The API over its three worlds. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) swarm: Arc<dyn Swarm>,
    pub(crate) services: Arc<crate::routes::ServiceCache>,
    pub(crate) events: Arc<crate::routes::EventLog>,
    pub(crate) stop: CancellationToken,
    pub(crate) patience: Patience,
    /// This host's name, where the header `Host` must be right.
    pub(crate) only_host: Option<Arc<str>>,
}

impl Api {
    /// Joins the worlds. `stop` ends streams and, through [`crate::serve`], the server.
    pub fn new(
        control: Arc<dyn Control>,
        engine: Arc<dyn Engine>,
        swarm: Arc<dyn Swarm>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            control,
            engine,
            swarm,
            services: Arc::default(),
            events: Arc::default(),
            stop,
            patience: Patience::default(),
            only_host: None,
        }
    }

    /// For plain TCP: answers only requests whose `Host` is an address, `localhost` or this host.
    pub fn with_host_check(mut self, hostname: &str) -> Self {
        self.only_host = Some(hostname.into());
        self
    }

    /// With other timeouts.
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Refuses unless this node is a manager that answers.
    pub(crate) fn manager(&self) -> Result<(), Failure> {
        not_a_manager(self.swarm.standing()).map_or(Ok(()), Err)
    }

    /// Asks a question; the flag says that the answer may be stale.
    pub(crate) async fn read<R: ControlCall>(&self, request: R) -> Result<(R::Response, bool), Refusal> {
        call(&*self.control, request).await
    }

    /// Changes something.
    pub(crate) async fn write<R: ControlCall>(&self, request: R) -> Result<R::Response, Failure> {
        call(&*self.control, request).await.map(|(response, _)| response).map_err(Failure::of_write)
    }
}
