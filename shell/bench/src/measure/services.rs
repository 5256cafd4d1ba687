//! Creating and listing services without replicas: the cluster's own speed.

use std::time::Instant;

use bytes::Bytes;
use futures::future::try_join_all;
use hyper::Method;

use super::weight;
use crate::client::Client;
use crate::fleet::Fleet;
use crate::swarm;
use crate::table::{Figure, Table};
use crate::{Flags, Part};

/// Services created one at a time, then listed and weighed.
const SERVICES: usize = 400;
/// Services created many at once.
const SERVICES_AT_ONCE: usize = 1600;
/// Connections that create at once.
const CONNECTIONS: usize = 32;
/// Lists taken.
const LISTS: usize = 200;

/// One at a time, the list, the memory, many at once; nothing stays.
pub async fn measure(flags: &Flags, fleet: &Fleet, table: &mut Table) -> anyhow::Result<()> {
    let leader = super::leader(fleet, 0).await?;
    let mut client = fleet.client(leader);
    let mut ids = Vec::with_capacity(SERVICES);
    let start = Instant::now();
    for number in 0..SERVICES {
        ids.push(swarm::create_service(&mut client, &format!("one-{number}"), 0).await?);
    }
    let rate = SERVICES as f64 / start.elapsed().as_secs_f64();
    if flags.wants(Part::Creations) {
        table.add(fleet.product, Figure::CreateOne, rate);
    }
    if flags.wants(Part::List) {
        list(&mut client, fleet, table).await?;
    }
    if flags.wants(Part::Memory) {
        weight::with_services(fleet, table).await?;
    }
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| fleet.client(leader)).collect();
    remove_all(&mut clients, &ids).await?;
    if flags.wants(Part::Creations) {
        let start = Instant::now();
        let share = SERVICES_AT_ONCE / CONNECTIONS;
        let created = try_join_all(clients.iter_mut().enumerate().map(|(connection, client)| async move {
            let mut ids = Vec::with_capacity(share);
            for number in 0..share {
                ids.push(swarm::create_service(client, &format!("many-{connection}-{number}"), 0).await?);
            }
            anyhow::Ok(ids)
        }))
        .await?;
        table.add(fleet.product, Figure::CreateMany, SERVICES_AT_ONCE as f64 / start.elapsed().as_secs_f64());
        remove_all(&mut clients, &created.concat()).await?;
    }
    Ok(())
}

async fn list(client: &mut Client, fleet: &Fleet, table: &mut Table) -> anyhow::Result<()> {
    let mut times = Vec::with_capacity(LISTS);
    let mut bytes = 0;
    for _ in 0..LISTS {
        let start = Instant::now();
        bytes = client.call(Method::GET, "/services", Bytes::new()).await?.len();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    eprintln!("  a list has {bytes} bytes");
    // The median alone: two hundred samples would drown the report.
    table.add(fleet.product, Figure::List, times[times.len() / 2]);
    Ok(())
}

async fn remove_all(clients: &mut [Client], ids: &[String]) -> anyhow::Result<()> {
    let shares = ids.chunks(ids.len().div_ceil(clients.len()).max(1));
    try_join_all(clients.iter_mut().zip(shares).map(|(client, share)| async move {
        for id in share {
            swarm::remove_service(client, id).await?;
        }
        anyhow::Ok(())
    }))
    .await
    .map(drop)
}
