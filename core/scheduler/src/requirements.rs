//! What a task asks of a node, worked out once for a whole group.

use skep_model::constraint::{self, Constraint, Operator};
use skep_model::pb::types::generic_resource::Resource;
use skep_model::pb::types::mount;
use skep_model::pb::types::placement_preference::Preference;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::{DiscreteGenericResource, GenericResource, Mount, PlacementPreference, Platform};
use skep_model::{AbilitySet, Task, ability};
use skep_store::Read;

use crate::node::{HostPort, ServiceNumber, host_ports, reservations};
use crate::picture::Picture;
use crate::volumes::{self, Candidate};

/// A log driver by this name needs no plugin.
const NO_LOG_DRIVER: &str = "none";
/// A volume driver by this name is built in.
const LOCAL_VOLUME_DRIVER: &str = "local";

/// What a task asks of a node. Empty parts ask for nothing.
#[derive(Clone, Debug)]
pub(crate) struct Requirements<'a> {
    pub(crate) task: &'a Task,
    pub(crate) service: Option<ServiceNumber>,
    pub(crate) memory_bytes: i64,
    pub(crate) nano_cpus: i64,
    pub(crate) generic: Vec<DiscreteGenericResource>,
    /// Type and name of plugins; a missing log driver counts only where the node names log drivers at all.
    pub(crate) plugins: Plugins<'a>,
    /// What the host must be able to do; counts only where a node names abilities at all.
    pub(crate) abilities: AbilitySet,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) affinities: Vec<Affinity>,
    pub(crate) platforms: &'a [Platform],
    pub(crate) ports: Vec<HostPort>,
    /// 0 for no limit.
    pub(crate) max_replicas: u64,
    pub(crate) volumes: Option<Vec<Candidate>>,
    /// Labels of nodes, outermost first.
    pub(crate) spread: Vec<&'a str>,
}

/// To be near, or not near, one of these services.
#[derive(Clone, Debug)]
pub(crate) struct Affinity {
    pub(crate) operator: Operator,
    pub(crate) services: Vec<ServiceNumber>,
}

impl<'a> Requirements<'a> {
    /// `service` is the number of the task's.
    pub(crate) fn of(task: &'a Task, service: Option<ServiceNumber>, picture: &Picture, read: &impl Read) -> Self {
        let mut wanted = Self {
            task,
            service,
            memory_bytes: 0,
            nano_cpus: 0,
            generic: Vec::new(),
            plugins: plugins(task),
            abilities: ability::required(&task.spec),
            constraints: Vec::new(),
            affinities: Vec::new(),
            platforms: &[],
            ports: Vec::new(),
            max_replicas: 0,
            volumes: volumes::candidates(read, task),
            spread: Vec::new(),
        };
        if let Some(reserved) = reservations(task) {
            wanted.memory_bytes = reserved.memory_bytes;
            wanted.nano_cpus = reserved.nano_cpus;
            wanted.generic = discrete(&reserved.generic);
        }
        if let Some(placement) = &task.spec.placement {
            // Specs were checked when they were stored; what cannot be read constrains nothing, as in Docker.
            wanted.constraints = constraint::parse(&placement.constraints).unwrap_or_default();
            wanted.affinities = affinities(&wanted.constraints, picture, read);
            wanted.platforms = &placement.platforms;
            wanted.max_replicas = placement.max_replicas;
            wanted.spread = spread(&placement.preferences);
        }
        if task.endpoint.is_some() {
            wanted.ports = host_ports(task).collect();
        }
        wanted
    }
}

fn discrete(reserved: &[GenericResource]) -> Vec<DiscreteGenericResource> {
    let count = |generic: &GenericResource| match &generic.resource {
        Some(Resource::DiscreteResourceSpec(discrete)) => Some(discrete.clone()),
        _ => None,
    };
    reserved.iter().filter_map(count).collect()
}

fn affinities(constraints: &[Constraint], picture: &Picture, read: &impl Read) -> Vec<Affinity> {
    let resolve = |(operator, names): (Operator, &[String])| {
        let by_name = |name: &String| read.service_by_name(name).map(|service| service.id.clone());
        let services = names.iter().filter_map(by_name).filter_map(|id| picture.known_service(&id)).collect();
        Affinity { operator, services }
    };
    constraints.iter().filter_map(Constraint::affinity).map(resolve).collect()
}

fn spread(preferences: &[PlacementPreference]) -> Vec<&str> {
    fn descriptor(preference: Option<&Preference>) -> Option<&str> {
        preference.map(|Preference::Spread(spread)| spread.spread_descriptor.as_str())
    }
    let descriptors = preferences.iter().filter_map(|preference| descriptor(preference.preference.as_ref()));
    descriptors.filter(|text| is_descriptor(text)).collect()
}

fn is_descriptor(text: &str) -> bool {
    [constraint::NODE_LABEL_PREFIX, constraint::ENGINE_LABEL_PREFIX].iter().any(|prefix| {
        text.len() > prefix.len() && text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    })
}

/// Types and names of plugins. One, as most tasks of a network with a driver ask for, lies in place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plugins<'a> {
    first: Option<(&'static str, &'a str)>,
    others: Vec<(&'static str, &'a str)>,
}

impl<'a> Plugins<'a> {
    fn push(&mut self, plugin: (&'static str, &'a str)) {
        match self.first {
            None => self.first = Some(plugin),
            Some(_) => self.others.push(plugin),
        }
    }

    /// In the order in which the task names them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &'a str)> {
        self.first.into_iter().chain(self.others.iter().copied())
    }
}

fn plugins(task: &Task) -> Plugins<'_> {
    let mut plugins = Plugins::default();
    if let Some(Runtime::Container(container)) = &task.spec.runtime {
        container.mounts.iter().filter_map(volume_driver).for_each(|name| plugins.push(("Volume", name)));
    }
    for network in task.networks.iter().filter_map(|attachment| attachment.network.as_ref()) {
        let driver = network.driver_state.as_ref().map(|driver| driver.name.as_str()).unwrap_or_default();
        if !driver.is_empty() {
            plugins.push(("Network", driver));
        }
    }
    let log = task.spec.log_driver.as_ref().map(|driver| driver.name.as_str()).unwrap_or_default();
    if !log.is_empty() && log != NO_LOG_DRIVER {
        plugins.push(("Log", log));
    }
    plugins
}

fn volume_driver(mount: &Mount) -> Option<&str> {
    let options = mount.volume_options.as_ref().filter(|_| mount.r#type() == mount::Type::Volume)?;
    let name = options.driver_config.as_ref()?.name.as_str();
    (!name.is_empty() && name != LOCAL_VOLUME_DRIVER).then_some(name)
}
