//! What somebody asks for, as it is carried out.

use skep_model::pb::messages as m;
use skep_model::pb::types::{self, NodeRole, node_spec::Availability};
use skep_model::{ControlRequest, Verbatim};

use super::World;
use super::clients::{Change, Owned, Purposed, Sort};
use super::locks::ClusterChange;
use super::nodes::NodeChange;
use super::specs::{self, Known};
use crate::dice::{Dice, Purpose};
use crate::invariants::acknowledged_never_lost::Existence;
use crate::invariants::reads_are_current::Register;
use crate::scenario::Wish;

/// Objects of one kind that are made at most: the rest of a run changes them.
const OBJECTS_MAX: usize = 10;
/// Machines at most.
const HOSTS_MAX: usize = 14;

impl World {
    pub(crate) fn wish(&mut self, number: usize) {
        let Some(wish) = self.plan.wishes.get(number).map(|wish| wish.what).filter(|_| !self.healed) else { return };
        let mut dice = Dice::new(self.plan.seed, Purpose::Operation(number as u64));
        let dice = &mut dice;
        let number = number as u64;
        match wish {
            Wish::CreateService | Wish::CreateJob => self.create_service(wish == Wish::CreateJob, number, dice),
            Wish::CreateMany { replicas } => self.create_many(replicas, number, dice),
            Wish::CreateSecret => self.create(Sort::Secret, number, dice),
            Wish::CreateConfig => self.create(Sort::Config, number, dice),
            Wish::CreateNetwork => self.create(Sort::Network, number, dice),
            Wish::UpdateService => self.read(Sort::Service, Some(Change::Update { number }), dice),
            Wish::RunJobAgain => self.read(Sort::Service, Some(Change::RunAgain { number }), dice),
            Wish::RollBackService => self.read(Sort::Service, Some(Change::RollBack), dice),
            Wish::UpdateSecret => self.read(Sort::Secret, Some(Change::Update { number }), dice),
            Wish::UpdateConfig => self.read(Sort::Config, Some(Change::Update { number }), dice),
            Wish::Read => {
                let sorts = [Sort::Service, Sort::Service, Sort::Service, Sort::Secret, Sort::Config, Sort::Network];
                let sort = dice.pick(&sorts).unwrap_or(Sort::Service);
                self.read(sort, None, dice);
            }
            Wish::RemoveService => self.remove(Sort::Service, dice),
            Wish::RemoveSecret => self.remove(Sort::Secret, dice),
            Wish::RemoveConfig => self.remove(Sort::Config, dice),
            Wish::RemoveNetwork => self.remove(Sort::Network, dice),
            Wish::Availability => {
                let kinds = [Availability::Active, Availability::Active, Availability::Pause, Availability::Drain];
                let availability = dice.pick(&kinds).unwrap_or(Availability::Active);
                self.change_some_node(NodeChange::Availability(availability), dice);
            }
            Wish::Promote => self.change_some_node(NodeChange::Role(NodeRole::Manager), dice),
            Wish::Demote => self.change_some_node(NodeChange::Role(NodeRole::Worker), dice),
            Wish::AddHost { manager } => self.add_one_more(manager),
            Wish::Retire => self.retire(dice),
            Wish::Leave { again } => self.leave_some(again, dice),
            Wish::RemoveNode => self.remove_some_node(dice),
            Wish::ForceOut { again } => self.force_out(again, dice),
            Wish::Autolock { on } => self.change_cluster(ClusterChange::Autolock(on), dice),
            Wish::RotateUnlockKey => self.change_cluster(ClusterChange::RotateUnlockKey, dice),
            Wish::BringRoot(which) => {
                let change = self.root_to_bring(which);
                self.change_cluster(change, dice);
            }
            Wish::RotateRoot => self.change_cluster(ClusterChange::RotateRoot, dice),
        }
    }

    fn add_one_more(&mut self, manager: bool) {
        if self.hosts.len() >= HOSTS_MAX {
            return;
        }
        let role = if manager { NodeRole::Manager } else { NodeRole::Worker };
        let remotes = self.manager_peers();
        let host = self.add_host(role);
        self.hosts[host].remotes = remotes;
        self.start_daemon(host, 0);
    }

    fn known(&self) -> Known {
        let of = |sort: Sort| {
            let there = |object: &&Owned| object.sort == sort && object.existence == Existence::Certain;
            self.clients.objects.iter().filter(there).map(|object| (object.id.clone(), object.name.clone())).collect()
        };
        Known { networks: of(Sort::Network), secrets: of(Sort::Secret), configs: of(Sort::Config) }
    }

    /// Whether there is room for one more.
    fn has_room(&self, sort: Sort) -> bool {
        let there = |object: &&Owned| object.sort == sort && object.existence != Existence::Gone;
        self.clients.objects.iter().filter(there).count() < OBJECTS_MAX
    }

    fn create_service(&mut self, job: bool, number: u64, dice: &mut Dice) {
        if !self.has_room(Sort::Service) {
            return;
        }
        let name = format!("service{number}");
        let known = self.known();
        let mut spec =
            if job { specs::job(dice, &name, number, &known) } else { specs::service(dice, &name, number, &known) };
        if self.plan.drivers {
            specs::drive(&mut Dice::new(self.plan.seed, Purpose::Driven(number)), &mut spec, &known);
        }
        self.create_as(Sort::Service, name, number, m::CreateServiceRequest { spec: Some(Verbatim::new(spec)) }, dice);
    }

    fn create_many(&mut self, replicas: u64, number: u64, dice: &mut Dice) {
        let name = format!("service{number}");
        let spec = specs::plain(&name, number, replicas);
        self.create_as(Sort::Service, name, number, m::CreateServiceRequest { spec: Some(Verbatim::new(spec)) }, dice);
    }

    fn create(&mut self, sort: Sort, number: u64, dice: &mut Dice) {
        if !self.has_room(sort) {
            return;
        }
        let name = format!("{sort:?}{number}").to_lowercase();
        let annotations = Some(specs::annotations(&name, number));
        let data = bytes::Bytes::from(format!("data{number}"));
        let request: ControlRequest = match sort {
            Sort::Service => return,
            Sort::Secret => {
                let driver = self.driver_of(number);
                let data = if driver.is_some() { Default::default() } else { data };
                let spec = types::SecretSpec { annotations, data, driver, ..Default::default() };
                m::CreateSecretRequest { spec: Some(Verbatim::new(spec)) }.into()
            }
            Sort::Config => {
                let spec = types::ConfigSpec { annotations, data, ..Default::default() };
                m::CreateConfigRequest { spec: Some(Verbatim::new(spec)) }.into()
            }
            Sort::Network => {
                let driver = types::Driver { name: "overlay".into(), ..Default::default() };
                let spec = types::NetworkSpec { annotations, driver_config: Some(driver), ..Default::default() };
                m::CreateNetworkRequest { spec: Some(Verbatim::new(spec)) }.into()
            }
        };
        self.create_as(sort, name, number, request, dice);
    }

    /// Who has the secret's value, if that is a driver.
    fn driver_of(&self, number: u64) -> Option<types::Driver> {
        let mut dice = self.plan.drivers.then(|| Dice::new(self.plan.seed, Purpose::Driven(number)))?;
        let name = dice.pick(&["", "vault", "vault", "vault", "safe"]).filter(|name| !name.is_empty())?;
        Some(types::Driver { name: name.to_owned(), ..Default::default() })
    }

    fn create_as(
        &mut self,
        sort: Sort,
        name: String,
        number: u64,
        request: impl Into<ControlRequest>,
        dice: &mut Dice,
    ) {
        let object = self.clients.objects.len();
        self.clients.objects.push(Owned {
            sort,
            name,
            id: String::new(),
            existence: Existence::Unknown,
            register: Register::new(number),
            busy: false,
        });
        self.ask(request.into(), Purposed::Create { object }, dice);
    }

    /// An object that its client knows to exist, or not, and about which nothing is being asked.
    fn some_object(&mut self, sort: Sort, also_gone: bool, dice: &mut Dice) -> Option<usize> {
        let objects = self.clients.objects.iter().enumerate().filter(|(_, object)| {
            object.sort == sort
                && !object.busy
                && match object.existence {
                    Existence::Unknown => false,
                    Existence::Certain => true,
                    Existence::MaybeGone | Existence::Gone => also_gone,
                }
        });
        let choices: Vec<usize> = objects.map(|(number, _)| number).collect();
        dice.pick(&choices)
    }

    fn read(&mut self, sort: Sort, then: Option<Change>, dice: &mut Dice) {
        let Some(object) = self.some_object(sort, then.is_none(), dice) else { return };
        let Owned { id, name, .. } = self.clients.objects[object].clone();
        // A version has an id of its own: the newest is known by the name.
        let names = vec![name];
        let request: ControlRequest = match sort {
            Sort::Service => m::GetServiceRequest { service_id: id, ..Default::default() }.into(),
            Sort::Secret => {
                let filters = m::list_secrets_request::Filters { names, ..Default::default() };
                m::ListSecretsRequest { filters: Some(filters) }.into()
            }
            Sort::Config => {
                let filters = m::list_configs_request::Filters { names, ..Default::default() };
                m::ListConfigsRequest { filters: Some(filters) }.into()
            }
            Sort::Network => m::GetNetworkRequest { network_id: id, ..Default::default() }.into(),
        };
        self.ask(request, Purposed::Read { object, then }, dice);
    }

    fn remove(&mut self, sort: Sort, dice: &mut Dice) {
        let Some(object) = self.some_object(sort, false, dice) else { return };
        let Owned { id, register, .. } = self.clients.objects[object].clone();
        // What is on its way may make a version of another id, which this would leave.
        if matches!(sort, Sort::Secret | Sort::Config) && register.is_in_doubt() {
            return;
        }
        let request: ControlRequest = match sort {
            Sort::Service => m::RemoveServiceRequest { service_id: id }.into(),
            Sort::Secret => m::RemoveSecretRequest { secret_id: id }.into(),
            Sort::Config => m::RemoveConfigRequest { config_id: id }.into(),
            Sort::Network => m::RemoveNetworkRequest { network_id: id, ..Default::default() }.into(),
        };
        self.ask(request, Purposed::Remove { object }, dice);
    }
}
