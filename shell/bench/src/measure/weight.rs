//! Memory: what managers and shims weigh once they rest.

use std::time::Duration;

use crate::fleet::{Fleet, MANAGERS};
use crate::memory;
use crate::table::{Figure, Table};

/// Time for what was in flight to end and for collectors and allocators to give back what they will.
const SETTLE: Duration = Duration::from_secs(10);

/// Managers without services.
pub async fn idle(fleet: &Fleet, table: &mut Table) -> anyhow::Result<()> {
    managers(fleet, table, Figure::MemoryIdle).await
}

/// Managers with the services that are there.
pub async fn with_services(fleet: &Fleet, table: &mut Table) -> anyhow::Result<()> {
    managers(fleet, table, Figure::MemoryServices).await
}

async fn managers(fleet: &Fleet, table: &mut Table, figure: Figure) -> anyhow::Result<()> {
    tokio::time::sleep(SETTLE).await;
    for index in 0..MANAGERS {
        let mut sum = 0.0;
        for process in fleet.processes(index)?.iter().filter(|process| !process.is_shim()) {
            sum += memory::pss_mib(process.pid)?;
        }
        table.add(fleet.product, figure, sum);
    }
    Ok(())
}

/// The shims that are there. Skep's are forked from one process per daemon, which is shown by itself.
pub async fn shims(fleet: &Fleet, table: &mut Table) -> anyhow::Result<()> {
    tokio::time::sleep(SETTLE).await;
    let processes = fleet.shims()?;
    for process in &processes {
        let is_parent = processes.iter().any(|other| other.parent == process.pid);
        let figure = if is_parent { Figure::MemoryShimParent } else { Figure::MemoryShim };
        table.add(fleet.product, figure, memory::pss_mib(process.pid)?);
    }
    Ok(())
}
