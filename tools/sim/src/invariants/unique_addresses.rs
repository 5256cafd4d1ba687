//! No address of a network is held twice, by tasks that have not ended, services or nodes. Source: decision 21 and
//! interop §8.

use std::collections::BTreeMap;

use skep_model::pb::objects::NetworkAttachment;
use skep_model::{Node, Service, Task, Time};
use skep_store::{Action, AnyObject, Event, Store};

use super::{Invariant, Violation};

/// A network's id and an address in it.
type Address = (String, String);

/// See the file's head.
#[derive(Default)]
pub struct UniqueAddresses {
    held: BTreeMap<Address, String>,
}

impl Invariant for UniqueAddresses {
    fn committed(&mut self, _: Time, _: &Store, events: &[Event]) -> Result<(), Violation> {
        let events = || events.iter().filter(|event| !holds_the_same(event));
        for event in events() {
            let before = if event.action == Action::Remove { Some(&event.object) } else { event.old.as_ref() };
            for address in before.map(addresses).unwrap_or_default() {
                if self.held.get(&address).is_some_and(|holder| *holder == event.object.id()) {
                    self.held.remove(&address);
                }
            }
        }
        for event in events().filter(|event| event.action != Action::Remove) {
            let holder = event.object.id().to_owned();
            for address in addresses(&event.object) {
                match self.held.insert(address.clone(), holder.clone()) {
                    Some(other) if other != holder => {
                        let detail = format!("{address:?} is held by {other} and by {holder}");
                        return Err(Violation::new("unique_addresses", detail));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Most updates leave addresses as they are.
fn holds_the_same(event: &Event) -> bool {
    match (event.old.as_ref().filter(|_| event.action == Action::Update), &event.object) {
        (Some(AnyObject::Task(old)), AnyObject::Task(new)) => {
            old.networks == new.networks && old.has_ended() == new.has_ended()
        }
        (Some(AnyObject::Node(old)), AnyObject::Node(new)) => old.attachments == new.attachments,
        _ => false,
    }
}

fn addresses(object: &AnyObject) -> Vec<Address> {
    if let Some(task) = object.get::<Task>() {
        return if task.has_ended() { Vec::new() } else { of_attachments(&task.networks) };
    }
    if let Some(node) = object.get::<Node>() {
        return of_attachments(&node.attachments);
    }
    let Some(service) = object.get::<Service>() else { return Vec::new() };
    let virtual_ips = service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
    virtual_ips.filter(|ip| !ip.addr.is_empty()).map(|ip| (ip.network_id.clone(), ip.addr.clone())).collect()
}

fn of_attachments(attachments: &[NetworkAttachment]) -> Vec<Address> {
    let network = |attachment: &NetworkAttachment| attachment.network.as_ref().map(|network| network.id.clone());
    attachments
        .iter()
        .filter_map(|attachment| Some((network(attachment)?, &attachment.addresses)))
        .flat_map(|(network, addresses)| addresses.iter().map(move |address| (network.clone(), address.clone())))
        .collect()
}
