//! Attachments of nodes: the load balancer's address in ingress and in each overlay that its tasks use (interop §4.7,
//! §8). A Docker Engine does not start a task before its node has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use skep_model::pb::objects as pb;
use skep_model::{Network, NetworkId, Node};
use skep_store::Read;

use crate::book::{Book, Holder, Plan};
use crate::error::AllocateError;
use crate::prefix::Family;
use crate::tasks::attachments_held;

/// The node with the attachments that it needs and no others, and the first thing that could not be had. `None` when
/// nothing changes.
pub fn settle(
    book: &mut Book,
    read: &impl Read,
    ingress: Option<&NetworkId>,
    node: &Node,
) -> (Option<Node>, Option<AllocateError>) {
    let wanted = wanted(book, read, ingress, node);
    let holder = Holder::Node(node.id.clone());
    let usable = |attachment: &&pb::NetworkAttachment| {
        let id = attachment.network.as_ref().map(|network| network.id.as_str()).unwrap_or_default();
        !attachment.addresses.is_empty() && wanted.iter().any(|network| network.id.as_str() == id)
    };
    let mut attachments: Vec<pb::NetworkAttachment> = node.attachments.iter().filter(usable).cloned().collect();
    book.sync(holder.clone(), attachments_held(&attachments));
    let mut trouble = None;
    for network in &wanted {
        let known = |attachment: &pb::NetworkAttachment| {
            attachment.network.as_ref().is_some_and(|known| known.id == network.id.as_str())
        };
        if attachments.iter().any(known) {
            continue;
        }
        // Other engines look at the first address alone.
        let family = match book.families(&network.id) {
            Ok(families) => families.first().copied().unwrap_or(Family::V4),
            Err(error) => {
                trouble = trouble.or(Some(error));
                continue;
            }
        };
        match book.take(&holder, &network.id, family) {
            Ok(address) => attachments.push(pb::NetworkAttachment {
                network: Some(book.embedded(network)),
                addresses: vec![address],
                ..pb::NetworkAttachment::default()
            }),
            Err(error) => trouble = trouble.or(Some(error)),
        }
    }
    let changed = (attachments != node.attachments).then(|| Node { attachments, ..node.clone() });
    (changed, trouble)
}

/// The allocated overlays of the node's live tasks, and ingress.
fn wanted(book: &Book, read: &impl Read, ingress: Option<&NetworkId>, node: &Node) -> Vec<Arc<Network>> {
    let mut ids: BTreeSet<NetworkId> = BTreeSet::new();
    for task in read.tasks_on_node(&node.id) {
        if task.has_ended() {
            continue;
        }
        let networks = task.networks.iter().filter_map(|attachment| attachment.network.as_ref());
        ids.extend(networks.filter_map(|network| NetworkId::optional(&network.id)));
    }
    let others = ids.into_iter().filter(|id| Some(id) != ingress);
    let all = ingress.cloned().into_iter().chain(others);
    all.filter(|id| matches!(book.plan(id), Some(Plan::Global { .. }))).filter_map(|id| read.network(&id)).collect()
}
