//! Which manager to talk to: a weighted choice that learns from success and failure (source: SwarmKit's `remotes`).

use std::collections::{BTreeMap, BTreeSet};

use rand_core::RngCore;
use skep_model::pb::types::{Peer, WeightedPeer};

/// Weight of one experience.
pub const OBSERVATION_WEIGHT: i64 = 10;
/// Weights stay within this, either way.
const WEIGHT_MAX: i64 = 256;
/// Shares of a thousandth, so that managers without a good experience are chosen now and then.
const SCALE: u64 = 1000;

/// The managers that we know, by address.
#[derive(Clone, Debug, Default)]
pub struct Remotes {
    known: BTreeMap<String, Remote>,
}

#[derive(Clone, Debug)]
struct Remote {
    node_id: String,
    weight: i64,
}

impl Remotes {
    /// Managers from the disk or the command line.
    pub fn new(peers: impl IntoIterator<Item = Peer>) -> Self {
        let mut remotes = Self::default();
        for peer in peers {
            remotes.observe(&peer, OBSERVATION_WEIGHT);
        }
        remotes
    }

    /// Every known manager, by address.
    pub fn peers(&self) -> Vec<Peer> {
        let peer = |(addr, remote): (&String, &Remote)| Peer { node_id: remote.node_id.clone(), addr: addr.clone() };
        self.known.iter().map(peer).collect()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes the list of a manager: others are forgotten. Says whether anything changed. An empty list is ignored.
    pub fn replace(&mut self, managers: &[WeightedPeer]) -> bool {
        let managers: Vec<(&Peer, i64)> = managers
            .iter()
            .filter_map(|manager| Some((manager.peer.as_ref()?, manager.weight)))
            .filter(|(peer, _)| !peer.addr.is_empty())
            .collect();
        if managers.is_empty() {
            return false;
        }
        let before = self.peers();
        let listed: BTreeSet<&str> = managers.iter().map(|(peer, _)| peer.addr.as_str()).collect();
        self.known.retain(|addr, _| listed.contains(addr.as_str()));
        for (peer, weight) in managers {
            self.observe(peer, weight);
        }
        before != self.peers()
    }

    /// An experience with a manager; learns it when it is new.
    pub fn observe(&mut self, peer: &Peer, weight: i64) {
        let remote = self.known.entry(peer.addr.clone()).or_insert(Remote { node_id: peer.node_id.clone(), weight: 0 });
        if !peer.node_id.is_empty() {
            remote.node_id = peer.node_id.clone();
        }
        let sum = remote.weight + weight.clamp(-WEIGHT_MAX, WEIGHT_MAX);
        // Half of the old, half of the new, rounded up.
        remote.weight = sum.div_euclid(2) + sum.rem_euclid(2);
    }

    /// A bad experience with a manager that may have left the list meanwhile.
    pub fn blame(&mut self, peer: &Peer) {
        if self.known.contains_key(&peer.addr) {
            self.observe(peer, -OBSERVATION_WEIGHT);
        }
    }

    /// Chooses one, another than `except` when there is another.
    pub fn select(&self, rng: &mut dyn RngCore, except: Option<&str>) -> Option<Peer> {
        let others: Vec<_> = self.known.iter().filter(|(addr, _)| Some(addr.as_str()) != except).collect();
        let choice = if others.is_empty() { self.known.iter().collect() } else { others };
        let share = |remote: &Remote| u64::try_from(remote.weight).unwrap_or(0) * SCALE + 1;
        let total: u64 = choice.iter().map(|(_, remote)| share(remote)).sum();
        let mut ticket = if total == 0 { 0 } else { rng.next_u64() % total };
        for (addr, remote) in choice {
            if ticket < share(remote) {
                return Some(Peer { node_id: remote.node_id.clone(), addr: addr.clone() });
            }
            ticket -= share(remote);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    fn peer(addr: &str) -> Peer {
        Peer { node_id: String::new(), addr: addr.to_owned() }
    }

    #[test]
    fn a_manager_that_fails_is_chosen_less() {
        let mut remotes = Remotes::new([peer("a:1"), peer("b:1")]);
        for _ in 0..4 {
            remotes.blame(&peer("a:1"));
        }
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let chosen = (0..1000).filter(|_| remotes.select(&mut rng, None) == Some(peer("a:1"))).count();
        assert!(chosen < 20, "{chosen}");
    }

    #[test]
    fn the_excepted_one_is_chosen_only_when_it_is_the_last() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        let both = Remotes::new([peer("a:1"), peer("b:1")]);
        assert!((0..100).all(|_| both.select(&mut rng, Some("a:1")) == Some(peer("b:1"))));
        let one = Remotes::new([peer("a:1")]);
        assert_eq!(one.select(&mut rng, Some("a:1")), Some(peer("a:1")));
        assert_eq!(Remotes::default().select(&mut rng, None), None);
    }

    #[test]
    fn a_list_replaces_and_an_empty_list_does_not() {
        let mut remotes = Remotes::new([peer("a:1"), peer("b:1")]);
        let list = [WeightedPeer { peer: Some(peer("b:1")), weight: 10 }];
        assert!(remotes.replace(&list));
        assert!(!remotes.replace(&list));
        assert!(!remotes.replace(&[]));
        assert_eq!(remotes.peers(), [peer("b:1")]);
    }
}
