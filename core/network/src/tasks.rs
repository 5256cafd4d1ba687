//! Addresses of tasks, and the step from NEW to PENDING (interop §7.1, §8).

use skep_model::pb::objects as pb;
use skep_model::{NetworkId, Now, Service, Shared, Task, TaskState};
use skep_store::Read;

use crate::book::{Book, Held, Holder};
use crate::error::AllocateError;
use crate::services;

/// The message of a task that has what it needs, as Docker words it.
pub const PENDING_MESSAGE: &str = "pending task scheduling";

/// What the task's attachments hold; a task that has ended holds nothing.
pub fn held(task: &Task) -> Vec<Held> {
    if task.has_ended() {
        return Vec::new();
    }
    attachments_held(&task.networks)
}

/// What attachments hold.
pub fn attachments_held(attachments: &[pb::NetworkAttachment]) -> Vec<Held> {
    let network = |attachment: &pb::NetworkAttachment| NetworkId::optional(&attachment.network.as_ref()?.id);
    attachments
        .iter()
        .filter_map(|attachment| Some((network(attachment)?, &attachment.addresses)))
        .flat_map(|(network, addresses)| addresses.iter().map(move |address| (network.clone(), address.clone())))
        .collect()
}

/// Whether the task waits for the allocator: NEW, and somebody still wants it.
pub fn waits(task: &Task) -> bool {
    task.state() == TaskState::New && task.desired_state <= TaskState::Complete
}

/// The task with its addresses, PENDING; on an error nothing is taken.
pub fn settle(
    book: &mut Book,
    read: &impl Read,
    now: Now,
    ingress: Option<&NetworkId>,
    task: &Task,
    service: Option<&Service>,
) -> Result<Task, AllocateError> {
    let mut settled = task.clone();
    if let Some(endpoint) = service.and_then(|service| service.endpoint.as_ref()) {
        settled.endpoint = Some(endpoint.clone().into());
    }
    let mut networks = settled.networks.to_vec();
    if networks.is_empty() {
        networks = attachments(read, ingress, task, service)?;
    }
    if !networks.is_empty() {
        let holder = Holder::Task(task.id.clone());
        if let Err(error) = address(book, read, &holder, &mut networks) {
            book.sync(holder, Vec::new());
            return Err(error);
        }
        settled.networks = networks.into();
    }
    settled.status.set_state(TaskState::Pending);
    PENDING_MESSAGE.clone_into(&mut settled.status.message);
    settled.status.err.clear();
    settled.status.timestamp = Some(now.wall.into());
    Ok(settled)
}

/// The ingress network first, then those of the spec.
fn attachments(
    read: &impl Read,
    ingress: Option<&NetworkId>,
    task: &Task,
    service: Option<&Service>,
) -> Result<Vec<pb::NetworkAttachment>, AllocateError> {
    let mut attachments = Vec::new();
    if service.is_some_and(services::needs_ingress) {
        let id = ingress.ok_or(AllocateError::IngressMissing)?;
        attachments.push(pb::NetworkAttachment {
            network: Some(Shared::new(pb::Network { id: id.to_string(), ..pb::Network::default() })),
            ..pb::NetworkAttachment::default()
        });
    }
    let of_service = service.map(services::spec_networks).unwrap_or_default();
    let configs = if task.spec.networks.is_empty() { of_service } else { &task.spec.networks };
    for config in configs {
        let id = services::resolve(read, &config.target)?;
        attachments.push(pb::NetworkAttachment {
            network: Some(Shared::new(pb::Network { id: id.to_string(), ..pb::Network::default() })),
            addresses: config.addresses.clone(),
            aliases: config.aliases.clone(),
            driver_attachment_opts: config.driver_attachment_opts.clone(),
        });
    }
    Ok(attachments)
}

/// Puts addresses and the whole network objects into the attachments.
fn address(
    book: &mut Book,
    read: &impl Read,
    holder: &Holder,
    attachments: &mut [pb::NetworkAttachment],
) -> Result<(), AllocateError> {
    for attachment in attachments {
        let named = attachment.network.as_ref().map(|network| network.id.as_str()).unwrap_or_default();
        let missing = || AllocateError::NetworkMissing { network: named.to_owned() };
        let network = NetworkId::optional(named).and_then(|id| read.network(&id)).ok_or_else(missing)?;
        if attachment.addresses.is_empty() {
            for family in book.families(&network.id)? {
                attachment.addresses.push(book.take(holder, &network.id, family)?);
            }
        } else {
            let mut addresses = Vec::with_capacity(attachment.addresses.len());
            for wished in &attachment.addresses {
                addresses.extend(book.take_wished(holder, &network.id, wished)?);
            }
            attachment.addresses = addresses;
        }
        attachment.network = Some(book.embedded(&network));
    }
    Ok(())
}
