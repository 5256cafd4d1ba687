//! Clients: what they ask for, and what they know for certain.
//!
//! A client waits for each answer about an object before it asks about it again; so what it may see is: the last
//! acknowledged value, or one whose writing had no clear outcome. Everything else breaks linearizability.

use std::collections::BTreeMap;

use skep_manager::Answer;
use skep_model::pb::messages as m;
use skep_model::pb::messages::update_service_request::Rollback;
use skep_model::pb::types::{self, NodeRole, node_spec::Availability};
use skep_model::{Code, ControlRequest, ControlResponse, Refusal, Verbatim};

use super::calls::{Body, Call, Origin};
use super::specs::{self, Known, VALUE_LABEL};
use super::{Happening, World};
use crate::dice::{Dice, Purpose};
use crate::invariants::Violation;
use crate::network::HostId;
use crate::scenario::Wish;

/// A client's patience.
const CLIENT_TIMEOUT_US: u64 = 12_000_000;
/// Objects of one kind that are made at most: the rest of a run changes them.
const SERVICES_MAX: usize = 10;

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sort {
    Service,
    Secret,
    Config,
    Network,
}

/// Whether it exists, as far as its client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Existence {
    /// Asked for; nobody said whether it was made.
    Unknown,
    Certain,
    /// Its removal was asked for; nobody said whether it was done.
    MaybeGone,
    Gone,
}

/// A value whose writing had no clear outcome.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    value: u64,
    /// The version that the writing quoted: on any later one it can no longer happen.
    quoted: u64,
}

/// One object of a client.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub sort: Sort,
    pub name: String,
    pub id: String,
    pub existence: Existence,
    pub value: u64,
    /// Every value that was ever asked for: an update that fails may roll back by itself.
    history: Vec<u64>,
    doubts: Vec<Doubt>,
    busy: bool,
}

/// What an answer is about.
#[derive(Clone, Debug)]
enum Purposed {
    Create {
        object: usize,
    },
    Remove {
        object: usize,
    },
    Read {
        object: usize,
        then: Option<Change>,
    },
    Update {
        object: usize,
        value: u64,
        quoted: u64,
    },
    /// Of a node: nobody keeps account.
    ReadNode {
        change: NodeChange,
    },
    Forget,
}

/// What follows a read.
#[derive(Clone, Copy, Debug)]
enum Change {
    Update { number: u64 },
    RollBack,
}

/// What is done to a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NodeChange {
    Availability(Availability),
    Role(NodeRole),
}

/// All clients.
#[derive(Default)]
pub(crate) struct Clients {
    pub objects: Vec<Owned>,
    waiting: BTreeMap<u64, Purposed>,
    last_value: u64,
    /// Writes acknowledged, for reports.
    pub acknowledged: u64,
}

impl World {
    pub(crate) fn wish(&mut self, number: usize) {
        let Some(wish) = self.plan.wishes.get(number).map(|wish| wish.what).filter(|_| !self.healed) else { return };
        let mut dice = Dice::new(self.plan.seed, Purpose::Operation(number as u64));
        self.clients.last_value = self.clients.last_value.max(number as u64);
        let number = number as u64;
        match wish {
            Wish::CreateService | Wish::CreateSecret | Wish::CreateConfig | Wish::CreateNetwork => {
                self.create(wish, number, &mut dice);
            }
            Wish::UpdateService => self.read(Some(Change::Update { number }), &mut dice),
            Wish::RollBackService => self.read(Some(Change::RollBack), &mut dice),
            Wish::Read => self.read(None, &mut dice),
            Wish::RemoveService => self.remove(Sort::Service, &mut dice),
            Wish::RemoveSecret => self.remove(Sort::Secret, &mut dice),
            Wish::RemoveConfig => self.remove(Sort::Config, &mut dice),
            Wish::RemoveNetwork => self.remove(Sort::Network, &mut dice),
            Wish::Availability => {
                let kinds = [Availability::Active, Availability::Active, Availability::Pause, Availability::Drain];
                let availability = dice.pick(&kinds).unwrap_or(Availability::Active);
                self.change_some_node(NodeChange::Availability(availability), &mut dice);
            }
            Wish::Promote => self.change_some_node(NodeChange::Role(NodeRole::Manager), &mut dice),
            Wish::Demote => self.change_some_node(NodeChange::Role(NodeRole::Worker), &mut dice),
            Wish::AddHost { manager } => {
                let role = if manager { NodeRole::Manager } else { NodeRole::Worker };
                let host = self.add_host(role);
                let known: Vec<_> = self.hosts.iter().filter(|other| other.seat.is_some()).collect();
                let remotes =
                    known.iter().map(|other| types::Peer { node_id: String::new(), addr: other.address.clone() });
                self.hosts[host].remotes = remotes.collect();
                self.start_daemon(host, 0);
            }
            Wish::Retire => self.retire(&mut dice),
        }
    }

    // ---- asking -------------------------------------------------------------------------------------------------

    /// Asks a manager that runs; which, is diced.
    fn ask(&mut self, request: ControlRequest, purposed: Purposed, dice: &mut Dice) {
        let managers: Vec<HostId> =
            (0..self.hosts.len()).filter(|&host| self.hosts[host].up && self.hosts[host].manager.is_some()).collect();
        let object = purposed.object();
        let Some(at) = dice.pick(&managers) else { return };
        if let Some(object) = object {
            self.clients.objects[object].busy = true;
        }
        let number = self.next_number();
        self.say(|| format!("client {number} asks h{at}: {} for {purposed:?}", request.method()));
        self.clients.waiting.insert(number, purposed);
        self.after_us(CLIENT_TIMEOUT_US, Happening::ClientTimeout(number));
        let body = Body::Control { request: Box::new(request) };
        self.call(Call { from: at, origin: Origin::Client { request: number }, at, via: None, body });
    }

    fn known(&self) -> Known {
        let of = |sort: Sort| {
            let there = |object: &&Owned| object.sort == sort && object.existence == Existence::Certain;
            self.clients.objects.iter().filter(there).map(|object| (object.id.clone(), object.name.clone())).collect()
        };
        Known { networks: of(Sort::Network), secrets: of(Sort::Secret), configs: of(Sort::Config) }
    }

    fn create(&mut self, wish: Wish, number: u64, dice: &mut Dice) {
        let (sort, name) = match wish {
            Wish::CreateSecret => (Sort::Secret, format!("secret{number}")),
            Wish::CreateConfig => (Sort::Config, format!("config{number}")),
            Wish::CreateNetwork => (Sort::Network, format!("network{number}")),
            _ => (Sort::Service, format!("service{number}")),
        };
        let gone = |object: &&Owned| object.sort == sort && object.existence != Existence::Gone;
        if self.clients.objects.iter().filter(gone).count() >= SERVICES_MAX {
            return;
        }
        let annotations = Some(specs::annotations(&name, number));
        let data = bytes::Bytes::from(format!("data{number}"));
        let request: ControlRequest = match sort {
            Sort::Service => {
                let spec = specs::service(dice, &name, number, &self.known());
                m::CreateServiceRequest { spec: Some(Verbatim::new(spec)) }.into()
            }
            Sort::Secret => {
                let spec = types::SecretSpec { annotations, data, ..Default::default() };
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
        let object = self.clients.objects.len();
        self.clients.objects.push(Owned {
            sort,
            name,
            id: String::new(),
            existence: Existence::Unknown,
            value: number,
            history: vec![number],
            doubts: Vec::new(),
            busy: false,
        });
        self.ask(request, Purposed::Create { object }, dice);
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

    fn read(&mut self, then: Option<Change>, dice: &mut Dice) {
        let sorts = [Sort::Service, Sort::Service, Sort::Service, Sort::Secret, Sort::Config, Sort::Network];
        let sort = if then.is_some() { Sort::Service } else { dice.pick(&sorts).unwrap_or(Sort::Service) };
        let Some(object) = self.some_object(sort, then.is_none(), dice) else { return };
        let id = self.clients.objects[object].id.clone();
        let request: ControlRequest = match sort {
            Sort::Service => m::GetServiceRequest { service_id: id, ..Default::default() }.into(),
            Sort::Secret => m::GetSecretRequest { secret_id: id }.into(),
            Sort::Config => m::GetConfigRequest { config_id: id }.into(),
            Sort::Network => m::GetNetworkRequest { network_id: id, ..Default::default() }.into(),
        };
        self.ask(request, Purposed::Read { object, then }, dice);
    }

    fn remove(&mut self, sort: Sort, dice: &mut Dice) {
        let Some(object) = self.some_object(sort, false, dice) else { return };
        let id = self.clients.objects[object].id.clone();
        let request: ControlRequest = match sort {
            Sort::Service => m::RemoveServiceRequest { service_id: id }.into(),
            Sort::Secret => m::RemoveSecretRequest { secret_id: id }.into(),
            Sort::Config => m::RemoveConfigRequest { config_id: id }.into(),
            Sort::Network => m::RemoveNetworkRequest { network_id: id, ..Default::default() }.into(),
        };
        self.ask(request, Purposed::Remove { object }, dice);
    }

    fn change_some_node(&mut self, change: NodeChange, dice: &mut Dice) {
        let host = dice.below(self.hosts.len() as u64) as HostId;
        self.change_node(host, change, dice);
    }

    /// Changes the node of a host, after reading it.
    pub(crate) fn change_node(&mut self, host: HostId, change: NodeChange, dice: &mut Dice) {
        let Some(node) = self.hosts[host].node().filter(|_| !self.hosts[host].retired) else { return };
        let request = m::GetNodeRequest { node_id: node.to_string() };
        self.ask(request.into(), Purposed::ReadNode { change }, dice);
    }

    // ---- answers ------------------------------------------------------------------------------------------------

    pub(crate) fn client_timeout(&mut self, number: u64) {
        let refusal = Refusal::new(Code::DeadlineExceeded, "no answer");
        self.client_answer(number, Err(refusal));
    }

    pub(crate) fn client_answer(&mut self, number: u64, result: Result<Answer, Refusal>) {
        let Some(purposed) = self.clients.waiting.remove(&number) else { return };
        let result = self.lie(result, &purposed);
        self.say(|| match &result {
            Ok(_) => format!("client {number}: done"),
            Err(refusal) => format!("client {number}: {:?}: {refusal}", refusal.code),
        });
        if let Some(object) = purposed.object() {
            self.clients.objects[object].busy = false;
        }
        let mut dice = Dice::new(self.plan.seed, Purpose::Operation(1_000_000 + number));
        let (verdict, then) = match result {
            // What a manager without a leader knows may be old, and says so.
            Ok(Answer::Control { stale: true, .. }) => (Ok(()), None),
            Ok(Answer::Control { response, .. }) => self.clients.done(&purposed, &response),
            Ok(_) => (Ok(()), None),
            Err(refusal) => (self.clients.refused(&purposed, &refusal), None),
        };
        self.check(verdict);
        if let Some(request) = then {
            self.follow(request, purposed, &mut dice);
        }
    }

    /// The planted bug: what has no clear outcome is told as success.
    fn lie(&self, result: Result<Answer, Refusal>, purposed: &Purposed) -> Result<Answer, Refusal> {
        let planted = self.plant == Some(crate::Plant::RefusalAsSuccess);
        match (&result, purposed) {
            (Err(refusal), Purposed::Update { .. })
                if planted && !is_certain(refusal) && refusal.code == Code::Unknown =>
            {
                let response = ControlResponse::from(m::UpdateServiceResponse::default());
                Ok(Answer::Control { response: Box::new(response), stale: false })
            }
            _ => result,
        }
    }

    /// The second half of a change: what was read is written back, changed.
    fn follow(&mut self, response: ControlResponse, purposed: Purposed, dice: &mut Dice) {
        if self.healed && !matches!(purposed, Purposed::ReadNode { .. }) {
            return;
        }
        match (response, purposed) {
            (ControlResponse::GetService(response), Purposed::Read { object, then: Some(change) }) => {
                let Some(service) = response.service else { return };
                let quoted =
                    service.value.meta.as_ref().and_then(|meta| meta.version).map_or(0, |version| version.index);
                let Some(spec) = service.value.spec else { return };
                let (spec, value, rollback) = match change {
                    Change::Update { number } => {
                        (Verbatim::new(specs::changed(dice, &spec, number)), number, Rollback::None)
                    }
                    Change::RollBack => {
                        let before =
                            service.value.previous_spec.as_ref().and_then(|spec| value_of(spec.annotations.as_ref()));
                        let Some(before) = before else { return };
                        (spec, before, Rollback::Previous)
                    }
                };
                let mut request = m::UpdateServiceRequest {
                    service_id: service.value.id,
                    service_version: Some(types::Version { index: quoted }),
                    spec: Some(spec),
                    ..Default::default()
                };
                request.set_rollback(rollback);
                self.clients.objects[object].history.push(value);
                self.ask(request.into(), Purposed::Update { object, value, quoted }, dice);
            }
            (ControlResponse::GetNode(response), Purposed::ReadNode { change }) => {
                let Some(node) = response.node else { return };
                let Some(spec) = node.value.spec else { return };
                let spec = spec.edit(|spec| match change {
                    NodeChange::Availability(availability) => spec.set_availability(availability),
                    NodeChange::Role(role) => spec.set_desired_role(role),
                });
                let version = node.value.meta.as_ref().and_then(|meta| meta.version);
                let request = m::UpdateNodeRequest { node_id: node.value.id, node_version: version, spec: Some(spec) };
                self.ask(request.into(), Purposed::Forget, dice);
            }
            _ => {}
        }
    }
}

impl Purposed {
    fn object(&self) -> Option<usize> {
        match self {
            Self::Create { object }
            | Self::Remove { object }
            | Self::Read { object, .. }
            | Self::Update { object, .. } => Some(*object),
            Self::ReadNode { .. } | Self::Forget => None,
        }
    }
}

type Verdict = Result<(), Violation>;

impl Clients {
    /// An answer; and it again, if a change follows.
    fn done(&mut self, purposed: &Purposed, response: &ControlResponse) -> (Verdict, Option<ControlResponse>) {
        self.acknowledged += 1;
        match *purposed {
            Purposed::Create { object } => {
                let object = &mut self.objects[object];
                object.existence = Existence::Certain;
                object.id = created_id(response);
                (Ok(()), None)
            }
            Purposed::Remove { object } => {
                self.objects[object].existence = Existence::Gone;
                (Ok(()), None)
            }
            Purposed::Update { object, value, .. } => {
                let object = &mut self.objects[object];
                object.value = value;
                object.doubts.clear();
                (Ok(()), None)
            }
            Purposed::Read { object, then } => {
                let verdict = self.objects[object].saw(response);
                (verdict, then.map(|_| response.clone()))
            }
            Purposed::ReadNode { .. } => (Ok(()), Some(response.clone())),
            Purposed::Forget => (Ok(()), None),
        }
    }

    fn refused(&mut self, purposed: &Purposed, refusal: &Refusal) -> Verdict {
        let certain = is_certain(refusal);
        match *purposed {
            Purposed::Create { object } if certain => self.objects[object].existence = Existence::Gone,
            Purposed::Remove { object } => {
                let object = &mut self.objects[object];
                match (refusal.code, object.existence) {
                    (Code::NotFound, Existence::MaybeGone) => object.existence = Existence::Gone,
                    (Code::NotFound, _) => return Err(object.lost("is not found when it is removed")),
                    _ if !certain => object.existence = Existence::MaybeGone,
                    _ => {}
                }
            }
            Purposed::Update { object, value, quoted } => {
                let object = &mut self.objects[object];
                if refusal.code == Code::NotFound && object.existence == Existence::Certain {
                    return Err(object.lost("is not found when it is updated"));
                }
                if !certain {
                    object.doubts.push(Doubt { value, quoted });
                }
            }
            Purposed::Read { object, .. } if refusal.code == Code::NotFound => {
                let object = &mut self.objects[object];
                match object.existence {
                    Existence::Certain => return Err(object.lost("is not found when it is read")),
                    Existence::MaybeGone => object.existence = Existence::Gone,
                    Existence::Unknown | Existence::Gone => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Owned {
    fn lost(&self, what: &str) -> Violation {
        Violation::new("acknowledged_never_lost", format!("{} {what}, though it was acknowledged", self.name))
    }

    /// A read that claims to be current.
    fn saw(&mut self, response: &ControlResponse) -> Verdict {
        if self.existence == Existence::Gone {
            let detail = format!("{} is read after its removal was acknowledged", self.name);
            return Err(Violation::new("reads_are_current", detail));
        }
        let ControlResponse::GetService(response) = response else { return Ok(()) };
        let Some(service) = &response.service else { return Ok(()) };
        let version = service.value.meta.as_ref().and_then(|meta| meta.version).map_or(0, |version| version.index);
        let value = service.value.spec.as_ref().and_then(|spec| value_of(spec.annotations.as_ref()));
        self.observe(value, version, rolled_back(service.value.update_status.as_ref()))
    }

    /// The value and version in the facts.
    pub(crate) fn observe(&mut self, value: Option<u64>, version: u64, rolled_back: bool) -> Verdict {
        let doubted = self.doubts.iter().any(|doubt| Some(doubt.value) == value)
            || rolled_back && value.is_some_and(|value| self.history.contains(&value));
        if value != Some(self.value) && !doubted {
            let detail = format!(
                "{} has the value {value:?}; acknowledged was {}, in doubt {:?}",
                self.name, self.value, self.doubts
            );
            return Err(Violation::new("reads_are_current", detail));
        }
        if let (true, Some(value)) = (doubted, value) {
            self.value = value;
        }
        self.doubts.retain(|doubt| doubt.quoted >= version);
        Ok(())
    }
}

/// Nothing was changed, nor will be. (A refusal without a leader tells nothing: the write may be on its way.)
fn is_certain(refusal: &Refusal) -> bool {
    match refusal.code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented => true,
        Code::Unknown => *refusal == Refusal::out_of_sequence(),
        _ => false,
    }
}

/// The manager has put back an earlier spec.
pub(crate) fn rolled_back(status: Option<&types::UpdateStatus>) -> bool {
    use types::update_status::UpdateState as S;
    status.is_some_and(|status| matches!(status.state(), S::RollbackStarted | S::RollbackPaused | S::RollbackCompleted))
}

/// The value in a label.
pub(crate) fn value_of(annotations: Option<&types::Annotations>) -> Option<u64> {
    annotations?.labels.get(VALUE_LABEL)?.parse().ok()
}

fn created_id(response: &ControlResponse) -> String {
    let id = match response {
        ControlResponse::CreateService(response) => response.service.as_ref().map(|made| made.value.id.clone()),
        ControlResponse::CreateSecret(response) => response.secret.as_ref().map(|made| made.value.id.clone()),
        ControlResponse::CreateConfig(response) => response.config.as_ref().map(|made| made.value.id.clone()),
        ControlResponse::CreateNetwork(response) => response.network.as_ref().map(|made| made.value.id.clone()),
        _ => None,
    };
    id.unwrap_or_default()
}
