//! The leader goes: how soon another one acknowledges a write.

use std::time::{Duration, Instant};

use anyhow::bail;
use futures::future::select_all;

use super::form;
use crate::client::Client;
use crate::fleet::{Fleet, MANAGERS, PATIENCE};
use crate::swarm;
use crate::table::{Figure, Table};

/// Pause before a write that was refused is tried again.
const RETRY: Duration = Duration::from_millis(5);
/// A write that is not answered by then is given up and made anew: it may hang on the way to the leader that is gone.
const ATTEMPT: Duration = Duration::from_millis(250);
/// The swarm's rest between rounds, after it is whole again.
const REST: Duration = Duration::from_secs(3);
/// Cables cut: silence takes long to notice, so fewer rounds than kills.
const CUTS_MAX: u32 = 5;

/// KILL of the leader's daemon to the first write that a survivor acknowledges.
pub async fn killed(rounds: u32, fleet: &mut Fleet, table: &mut Table) -> anyhow::Result<()> {
    let mut asked = 0;
    for round in 0..rounds {
        rest(fleet, asked).await?;
        let leader = super::leader(fleet, asked).await?;
        let clients = survivors(fleet, leader).await?;
        let start = fleet.kill_daemon(leader)?;
        let written = first_write(clients, &format!("killed-{round}")).await;
        fleet.start_daemon(leader)?;
        fleet.answers(leader).await?;
        table.add(fleet.product, Figure::LeaderKilled, (written? - start).as_secs_f64());
        asked = (leader + 1) % MANAGERS;
    }
    rest(fleet, asked).await
}

/// The leader's cable cut, nothing reset, to the first write that another manager acknowledges.
pub async fn cut(rounds: u32, fleet: &mut Fleet, table: &mut Table) -> anyhow::Result<()> {
    let mut asked = 0;
    for round in 0..rounds.min(CUTS_MAX) {
        rest(fleet, asked).await?;
        let leader = super::leader(fleet, asked).await?;
        let clients = survivors(fleet, leader).await?;
        fleet.host(leader).cut_cable()?;
        let start = Instant::now();
        let written = first_write(clients, &format!("cut-{round}")).await;
        fleet.host(leader).plug_cable()?;
        table.add(fleet.product, Figure::LeaderCut, (written? - start).as_secs_f64());
        asked = (leader + 1) % MANAGERS;
    }
    rest(fleet, asked).await
}

async fn rest(fleet: &Fleet, asked: usize) -> anyhow::Result<()> {
    form::whole(fleet, asked).await?;
    tokio::time::sleep(REST).await;
    form::whole(fleet, asked).await
}

/// Open connections to the other managers.
async fn survivors(fleet: &Fleet, leader: usize) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for index in (0..MANAGERS).filter(|index| *index != leader) {
        let mut client = fleet.client(index);
        client.get("/version").await?;
        clients.push(client);
    }
    Ok(clients)
}

/// All survivors are asked at once, each again and again; the first acknowledgement counts.
async fn first_write(clients: Vec<Client>, name: &str) -> anyhow::Result<Instant> {
    let attempts = clients.into_iter().enumerate().map(|(number, mut client)| {
        Box::pin(async move {
            for attempt in 0u32.. {
                // Each attempt writes another name: one that was given up may still come true.
                let name = format!("{name}-{number}-{attempt}");
                if let Ok(Ok(())) = tokio::time::timeout(ATTEMPT, swarm::write(&mut client, &name)).await {
                    break;
                }
                tokio::time::sleep(RETRY).await;
            }
            Instant::now()
        })
    });
    match tokio::time::timeout(PATIENCE, select_all(attempts)).await {
        Ok((written, _, _)) => Ok(written),
        Err(_) => bail!("no write was acknowledged"),
    }
}
