//! A change of root takes everybody along: it begins only while whoever counts trusts the present root, which vouches for
//! the next; the present one is forgotten only when whoever counts has a certificate of the next; the tokens name the
//! root; and at no time does a manager not accept whoever counts, or the other way round. Who left does not count.
//! Source: interop §1.8, docs/design/pki.md (another root).

use skep_model::pb::types::NodeRole;
use skep_model::{Cluster, Node, NodeId, Time};
use skep_pki::{RootDigest, token};
use skep_store::{Event, Read as _, Store};

use super::{Verdict, Violation};
use crate::issuers::{Certificate, RootId};
use crate::network::HostId;

/// See the file's head.
#[derive(Default)]
pub struct RootKeptWhileUsed {
    /// The root that has just become the swarm's.
    new: Option<RootId>,
}

/// One that an operator brings is not kept waiting, as in Docker.
fn is_brought(root: Option<bytes::Bytes>) -> bool {
    root.and_then(|root| RootId::read(&root)).is_some_and(RootId::is_brought)
}

fn broken(detail: String) -> Violation {
    Violation::new("root_kept_while_used", detail)
}

impl RootKeptWhileUsed {
    /// One entry was applied.
    pub fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Verdict {
        for event in events {
            let Some(new) = event.object.get::<Cluster>() else { continue };
            let Some(old) = event.old.as_ref().and_then(|old| old.get::<Cluster>()) else { continue };
            if old.root_ca == new.root_ca {
                continue;
            }
            self.changed(facts, old, new)?;
        }
        Ok(())
    }

    fn changed(&mut self, facts: &Store, old: &Cluster, new: &Cluster) -> Verdict {
        let (before, after) = (&old.root_ca, &new.root_ca);
        let next = |cluster: &Cluster| cluster.root_ca.root_rotation.as_ref().map(|next| next.ca_cert.clone());
        // Called off while nodes hear of the end of the change before: no other root is on its way.
        let is_told = |cluster: &Cluster| next(cluster).as_ref() == Some(&cluster.root_ca.ca_cert);
        let digest = RootDigest::of(&after.ca_cert);
        let tokens = after.join_tokens.clone().unwrap_or_default();
        for text in [&tokens.manager, &tokens.worker] {
            if token::parse(text).ok().map(|token| token.root) != Some(digest) {
                return Err(broken("a token names another root than the swarm's".to_owned()));
            }
        }
        if before.ca_cert != after.ca_cert {
            let old_tokens = before.join_tokens.clone().unwrap_or_default();
            if old_tokens.manager == tokens.manager || old_tokens.worker == tokens.worker {
                return Err(broken("the root is another, the tokens are not".to_owned()));
            }
            if next(old).as_ref() != Some(&after.ca_cert) {
                return Err(broken("the root is another than the one that was on its way".to_owned()));
            }
            self.new = RootId::read(&after.ca_cert);
        } else if next(new).is_some() && next(new) != next(old) && !is_brought(next(new)) && !is_told(new) {
            let says_another = |node: &Node| {
                let said = node.description.as_ref().and_then(|description| description.tls_info.as_ref());
                said.is_some_and(|said| said.trust_root != after.ca_cert)
            };
            if let Some(node) = facts.nodes().iter().find(|node| !node.has_left() && says_another(node)) {
                return Err(broken(format!(
                    "a change of root begins, but {} does not trust the present root",
                    node.id
                )));
            }
        }
        Ok(())
    }

    /// Two nodes, and whether they accept each other's certificates: they must if one of them is a manager.
    pub fn accept_each_other(facts: &Store, nodes: [(HostId, &NodeId); 2], accept: bool) -> Verdict {
        if accept {
            return Ok(());
        }
        let [Some(one), Some(other)] = nodes.map(|(_, id)| facts.node(id).filter(|node| !node.has_left())) else {
            return Ok(());
        };
        if [one, other].iter().all(|node| node.role == NodeRole::Worker) {
            return Ok(());
        }
        let [(one, _), (other, _)] = nodes;
        Err(broken(format!("h{one} and h{other} do not accept each other's certificates")))
    }

    /// The root that became the swarm's since this was asked last.
    pub fn take_new(&mut self) -> Option<RootId> {
        self.new.take()
    }

    /// The swarm's root is this one now: a node that counts has a certificate of it.
    pub fn is_taken_along(
        facts: &Store,
        host: HostId,
        node: &NodeId,
        certificate: Certificate,
        root: RootId,
    ) -> Verdict {
        let counts = facts.node(node).is_some_and(|node| !node.has_left());
        if counts && certificate.issuer != root {
            return Err(broken(format!(
                "the root is {root} now, but h{host} has a certificate of {:?}",
                certificate.issuer
            )));
        }
        Ok(())
    }
}
