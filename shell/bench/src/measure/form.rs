//! Bringing the image, making a swarm, joining it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;

use crate::fleet::{Fleet, MANAGERS, WORKERS};
use crate::table::{Figure, Table};
use crate::{image, swarm};

/// Swarms made on one host, one after the other; the last one stays.
const INITS: usize = 5;
/// How often it is looked whether the swarm is whole.
const WHOLE_POLL: Duration = Duration::from_millis(50);

/// Imports the same archive on all hosts.
pub async fn bring_image(fleet: &Fleet) -> anyhow::Result<()> {
    let archive = Bytes::from(image::busybox(fleet.directory())?);
    for index in 0..MANAGERS + WORKERS {
        // CMD ["sh"]
        let path = "/images/create?fromSrc=-&repo=busybox&tag=latest&changes=CMD%20%5B%22sh%22%5D";
        fleet.client(index).call(Method::POST, path, archive.clone()).await?;
    }
    Ok(())
}

/// `swarm init`, to its answer.
pub async fn init(fleet: &Fleet, table: &mut Table) -> anyhow::Result<()> {
    let mut client = fleet.client(0);
    for round in 1..=INITS {
        let start = Instant::now();
        swarm::init(&mut client, fleet.host(0).address()).await?;
        table.add(fleet.product, Figure::Init, start.elapsed().as_secs_f64());
        if round < INITS {
            swarm::leave(&mut client).await?;
        }
    }
    Ok(())
}

/// `swarm join`, to its answer; then waits until the swarm is whole.
pub async fn join(fleet: &Fleet, table: &mut Table) -> anyhow::Result<()> {
    let mut first = fleet.client(0);
    for index in 1..MANAGERS + WORKERS {
        let (role, figure) =
            if index < MANAGERS { ("Manager", Figure::JoinManager) } else { ("Worker", Figure::JoinWorker) };
        let token = swarm::token(&mut first, role).await?;
        let mut client = fleet.client(index);
        let start = Instant::now();
        swarm::join(&mut client, fleet.host(index).address(), fleet.host(0).address(), &token).await?;
        table.add(fleet.product, figure, start.elapsed().as_secs_f64());
    }
    whole(fleet, 0).await
}

/// Waits until all nodes are ready and all managers reachable.
pub async fn whole(fleet: &Fleet, asked: usize) -> anyhow::Result<()> {
    let mut client = fleet.client(asked);
    let look = async || swarm::is_whole(&mut client, MANAGERS + WORKERS, MANAGERS).await;
    swarm::until("the swarm to be whole", WHOLE_POLL, look).await.map(drop)
}
