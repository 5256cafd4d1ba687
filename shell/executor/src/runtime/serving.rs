//! Whether connections to a service's ports of the routing mesh reach a container: from the moment that it runs (or is
//! healthy, when it has a check) until it is asked to end.

use std::sync::Arc;
use std::time::Duration;

use super::container::ContainerHandle;
use super::shared::Shared;
use crate::error::{ControllerError, RuntimeError};

/// Lets connections in. One that has ended, or is ending, stays as it is.
pub async fn begin(shared: &Shared, container: &Arc<ContainerHandle>) -> Result<(), ControllerError> {
    let _turn = container.verbs.lock().await;
    if container.record().mesh.ports.is_empty() || !container.now().is_running() {
        return Ok(());
    }
    // Written down first: a daemon that comes after this one goes on with it.
    let serving = match container.change(|record| record.mesh.serves = true) {
        Ok(()) => shared.network.serve(&container.id).await,
        failed => failed,
    };
    if let Err(error) = serving {
        // Nobody could reach it.
        container.kill().await?;
        return Err(ControllerError::NotStarted(Box::new(error.into())));
    }
    Ok(())
}

/// Lets no new connection in. What fails is said: it keeps nothing from ending.
pub async fn end(shared: &Shared, container: &Arc<ContainerHandle>) {
    if container.record().mesh.ports.is_empty() {
        return;
    }
    if let Err(error) = container.change(|record| record.mesh.serves = false) {
        tracing::warn!(container = container.id, %error, "that no connection shall reach it is not written down");
    }
    if let Err(error) = shared.network.withdraw(&container.id).await {
        tracing::warn!(container = container.id, %error, "connections reach it until it has ended");
    }
}

/// Ends it in good order: nobody new comes in, then its stop signal, its grace period, a kill.
pub async fn stop(
    shared: &Shared,
    container: &Arc<ContainerHandle>,
    signal: i32,
    grace: Duration,
) -> Result<(), RuntimeError> {
    end(shared, container).await;
    container.stop(signal, grace).await
}
