//! Who holds what, as far as the objects say: rebuilt from them, never stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::pb::objects as pb;
use skep_model::{Kept, Network, NetworkId, NodeId, ServiceId, Shared, TaskId};

use crate::error::AllocateError;
use crate::numbers::Numbers;
use crate::ports::PortBook;
use crate::prefix::{Family, Prefix, parse_address};
use crate::subnet::Subnet;

/// First number given to an overlay subnet: beyond the VLAN ids of 802.1Q.
pub const VNI_FIRST: u32 = 4096;
/// VXLAN numbers have 24 bits.
pub const VNI_LAST: u32 = (1 << 24) - 1;

/// Who may hold addresses.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Holder {
    Task(TaskId),
    Service(ServiceId),
    Node(NodeId),
}

/// An address in a network.
pub type Held = (NetworkId, String);

/// What a network needs of the swarm.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Each node manages it by itself.
    NodeLocal,
    /// Subnets and VXLAN numbers of the whole swarm.
    Global {
        subnets: Vec<Subnet>,
        numbers: Vec<u32>,
        /// Of which families everybody in it gets an address, the first one above all.
        families: Vec<Family>,
    },
}

/// Who holds what.
#[derive(Clone, Debug)]
pub struct Book {
    networks: BTreeMap<NetworkId, Plan>,
    /// What users call the networks that were looked at.
    names: BTreeMap<NetworkId, String>,
    /// Why networks are not allocated.
    troubles: BTreeMap<NetworkId, AllocateError>,
    holdings: BTreeMap<Holder, Vec<Held>>,
    /// Networks as they stand inside attachments, with what they were made of.
    embedded: BTreeMap<NetworkId, (Arc<Network>, Shared<pb::Network>)>,
    pub numbers: Numbers,
    pub ports: PortBook,
    /// Something was given back since this was last asked.
    released: bool,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            networks: BTreeMap::new(),
            names: BTreeMap::new(),
            troubles: BTreeMap::new(),
            holdings: BTreeMap::new(),
            embedded: BTreeMap::new(),
            numbers: Numbers::new(VNI_FIRST, VNI_LAST),
            ports: PortBook::default(),
            released: false,
        }
    }
}

impl Book {
    /// The plan of an allocated network.
    pub fn plan(&self, network: &NetworkId) -> Option<&Plan> {
        self.networks.get(network)
    }

    /// Notes an allocated network.
    pub fn add_network(&mut self, network: NetworkId, plan: Plan) {
        self.troubles.remove(&network);
        self.networks.insert(network, plan);
    }

    /// Notes what users call a network.
    pub fn name_network(&mut self, network: &NetworkId, name: &str) {
        self.names.insert(network.clone(), name.to_owned());
    }

    /// Notes why a network cannot be allocated; whether that is news.
    pub fn note_trouble(&mut self, network: &NetworkId, error: AllocateError) -> bool {
        let before = self.troubles.insert(network.clone(), error);
        before.as_ref() != self.troubles.get(network)
    }

    /// Gives a network's subnets and numbers back.
    pub fn remove_network(&mut self, network: &NetworkId) {
        self.names.remove(network);
        self.troubles.remove(network);
        self.embedded.remove(network);
        if let Some(Plan::Global { numbers, .. }) = self.networks.remove(network) {
            for number in numbers {
                self.numbers.release(number);
            }
            self.released = true;
        }
    }

    /// The network as it stands inside attachments: one for all of them, for they are many.
    pub fn embedded(&mut self, network: &Arc<Network>) -> Shared<pb::Network> {
        let known = self.embedded.get(&network.id).filter(|(of, _)| Arc::ptr_eq(of, network));
        if let Some((_, embedded)) = known {
            return embedded.clone();
        }
        let embedded = Shared::new(Kept::from(&**network).value);
        self.embedded.insert(network.id.clone(), (Arc::clone(network), embedded.clone()));
        embedded
    }

    /// Every subnet in use.
    pub fn subnets(&self) -> Vec<Prefix> {
        let subnets = self.networks.values().flat_map(|plan| match plan {
            Plan::Global { subnets, .. } => subnets.as_slice(),
            Plan::NodeLocal => &[],
        });
        subnets.map(|subnet| subnet.prefix).collect()
    }

    /// What somebody holds.
    pub fn holdings(&self, holder: &Holder) -> &[Held] {
        self.holdings.get(holder).map(Vec::as_slice).unwrap_or_default()
    }

    /// Notes what an object says that it holds; what it held beyond that is given back.
    pub fn sync(&mut self, holder: Holder, says: Vec<Held>) {
        let held = self.holdings.remove(&holder).unwrap_or_default();
        for (network, address) in held.iter().filter(|held| !says.contains(held)) {
            self.give_back(network, address);
        }
        for (network, address) in says.iter().filter(|said| !held.contains(said)) {
            if let Some((subnet, number)) = self.subnet_of(network, address) {
                subnet.hold(number);
            }
        }
        if !says.is_empty() {
            self.holdings.insert(holder, says);
        }
    }

    /// The families of which everybody in a network gets an address, IPv4 first; none where each node manages it.
    pub fn families(&self, network: &NetworkId) -> Result<Vec<Family>, AllocateError> {
        match self.networks.get(network) {
            Some(Plan::NodeLocal) => Ok(Vec::new()),
            Some(Plan::Global { families, .. }) => Ok(families.clone()),
            None => Err(self.pending(network)),
        }
    }

    /// The next free address of a family, with its subnet's length.
    pub fn take(&mut self, holder: &Holder, network: &NetworkId, family: Family) -> Result<String, AllocateError> {
        let mut fitting = self.subnets_of(network)?.iter_mut().filter(|subnet| subnet.prefix.family == family);
        let taken = fitting.find_map(|subnet| subnet.take_any().map(|number| subnet.prefix.cidr(number)));
        let address = taken.ok_or_else(|| AllocateError::AddressesExhausted { network: self.name(network) })?;
        self.holdings.entry(holder.clone()).or_default().push((network.clone(), address.clone()));
        Ok(address)
    }

    /// The address that is wished for, with its subnet's length; none where each node manages the network.
    pub fn take_wished(
        &mut self,
        holder: &Holder,
        network: &NetworkId,
        wished: &str,
    ) -> Result<Option<String>, AllocateError> {
        if matches!(self.networks.get(network), Some(Plan::NodeLocal)) {
            return Ok(None);
        }
        let (family, number) = parse_address(wished)?;
        let mut fitting = self.subnets_of(network)?.iter_mut().filter(|subnet| subnet.prefix.family == family);
        let subnet = fitting.find(|subnet| subnet.prefix.contains(number));
        let taken = subnet.and_then(|subnet| subnet.take(number).then(|| subnet.prefix.cidr(number)));
        let Some(address) = taken else {
            return Err(AllocateError::AddressTaken { network: self.name(network), address: wished.to_owned() });
        };
        self.holdings.entry(holder.clone()).or_default().push((network.clone(), address.clone()));
        Ok(Some(address))
    }

    fn subnets_of(&mut self, network: &NetworkId) -> Result<&mut [Subnet], AllocateError> {
        if !self.networks.contains_key(network) {
            return Err(self.pending(network));
        }
        match self.networks.get_mut(network) {
            Some(Plan::Global { subnets, .. }) => Ok(subnets),
            Some(Plan::NodeLocal) | None => Ok(&mut []),
        }
    }

    fn pending(&self, network: &NetworkId) -> AllocateError {
        let why = self.troubles.get(network).map(ToString::to_string).unwrap_or_else(|| "it is new".to_owned());
        AllocateError::NetworkPending { network: self.name(network), why }
    }

    /// Its name, or its id where nobody looked at it yet.
    fn name(&self, network: &NetworkId) -> String {
        self.names.get(network).cloned().unwrap_or_else(|| network.to_string())
    }

    /// Whether something was given back since this was last asked.
    pub fn take_released(&mut self) -> bool {
        std::mem::take(&mut self.released) | self.ports.take_released()
    }

    /// Something was given back.
    pub fn note_released(&mut self) {
        self.released = true;
    }

    fn give_back(&mut self, network: &NetworkId, address: &str) {
        if let Some((subnet, number)) = self.subnet_of(network, address) {
            subnet.release(number);
            self.released = true;
        }
    }

    fn subnet_of(&mut self, network: &NetworkId, address: &str) -> Option<(&mut Subnet, u128)> {
        let Some(Plan::Global { subnets, .. }) = self.networks.get_mut(network) else { return None };
        // What cannot be read holds nothing.
        let (family, number) = parse_address(address).ok()?;
        let mut fitting = subnets.iter_mut().filter(|subnet| subnet.prefix.family == family);
        fitting.find(|subnet| subnet.prefix.contains(number)).map(|subnet| (subnet, number))
    }
}
