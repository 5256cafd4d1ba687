//! Clients: how they ask, and what they make of the answers.
//!
//! A client waits for each answer about an object before it asks about it again; what it may then see is for the laws
//! `acknowledged_never_lost` and `reads_are_current` to say.

use std::collections::BTreeMap;

use skep_manager::Answer;
use skep_model::pb::messages as m;
use skep_model::{Code, ControlRequest, ControlResponse, Refusal};

use super::answers::{changed, created_id, seen, updated_id};
use super::calls::{Body, Call, Origin};
use super::locks::ClusterChange;
use super::nodes::NodeChange;
use super::{Happening, World};
use crate::dice::{Dice, Purpose};
use crate::invariants::Verdict;
use crate::invariants::acknowledged_never_lost::Existence;
use crate::invariants::reads_are_current::{PutBack, Register};
use crate::network::HostId;

/// A client's patience.
const CLIENT_TIMEOUT_US: u64 = 12_000_000;

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sort {
    Service,
    Secret,
    Config,
    Network,
}

/// One object of a client.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub sort: Sort,
    pub name: String,
    pub id: String,
    pub existence: Existence,
    pub register: Register,
    /// Something is being asked about it.
    pub busy: bool,
}

/// What an answer is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purposed {
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
    /// Of the cluster: nobody keeps account.
    ReadCluster {
        change: ClusterChange,
    },
    Forget,
}

/// What follows a read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Update {
        number: u64,
    },
    /// Only of a job.
    RunAgain {
        number: u64,
    },
    RollBack,
}

/// All clients.
#[derive(Default)]
pub(crate) struct Clients {
    pub objects: Vec<Owned>,
    waiting: BTreeMap<u64, Purposed>,
}

impl World {
    /// Asks a manager that runs; which, is diced.
    pub(crate) fn ask(&mut self, request: ControlRequest, purposed: Purposed, dice: &mut Dice) {
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
            Ok(Answer::Control { response, .. }) => {
                let verdict = self.clients.done(&purposed, &response, self.oracle.put_back());
                (verdict, Some(*response))
            }
            Ok(_) => (Ok(()), None),
            Err(refusal) => (self.clients.refused(&purposed, &refusal), None),
        };
        self.check(verdict);
        if let Some(response) = then {
            self.follow(response, purposed, &mut dice);
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
        match (response, purposed) {
            (ControlResponse::GetNode(response), Purposed::ReadNode { change }) => {
                self.follow_node(response, change, dice);
            }
            (ControlResponse::GetCluster(response), Purposed::ReadCluster { change }) if !self.healed => {
                self.follow_cluster(response, change, dice);
            }
            (response, Purposed::Read { object, then: Some(change) }) if !self.healed => {
                let name = &self.clients.objects[object].name;
                let Some((request, value, quoted)) = changed(response, name, change, dice) else { return };
                self.clients.objects[object].register.asked(value);
                self.ask(request, Purposed::Update { object, value, quoted }, dice);
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
            Self::ReadNode { .. } | Self::ReadCluster { .. } | Self::Forget => None,
        }
    }
}

impl Clients {
    fn done(&mut self, purposed: &Purposed, response: &ControlResponse, put_back: &PutBack) -> Verdict {
        match *purposed {
            Purposed::Create { object } => {
                let object = &mut self.objects[object];
                object.existence = Existence::Certain;
                object.id = created_id(response);
            }
            Purposed::Remove { object } => self.objects[object].existence = Existence::Gone,
            Purposed::Update { object, value, .. } => {
                let object = &mut self.objects[object];
                object.register.acknowledged(value);
                if let Some(id) = updated_id(response) {
                    object.id = id;
                }
            }
            Purposed::Read { object, .. } => {
                let object = &mut self.objects[object];
                let Some((id, seen)) = seen(response, &object.name, put_back) else {
                    return object.existence.not_found(&object.name, "read");
                };
                object.register.read(&object.name, object.existence, seen)?;
                object.id = id;
            }
            Purposed::ReadNode { .. } | Purposed::ReadCluster { .. } | Purposed::Forget => {}
        }
        Ok(())
    }

    fn refused(&mut self, purposed: &Purposed, refusal: &Refusal) -> Verdict {
        let certain = is_certain(refusal);
        let Some(object) = purposed.object() else { return Ok(()) };
        let object = &mut self.objects[object];
        let missing = refusal.code == Code::NotFound;
        match *purposed {
            Purposed::Create { .. } if certain => object.existence = Existence::Gone,
            Purposed::Remove { .. } if missing => return object.existence.not_found(&object.name, "removed"),
            Purposed::Remove { .. } if !certain => object.existence = Existence::MaybeGone,
            // Something else that the spec names may be missing.
            Purposed::Update { .. } if missing && refusal.message.contains(&object.id) => {
                return object.existence.not_found(&object.name, "updated");
            }
            Purposed::Update { value, quoted, .. } if !certain => object.register.doubtful(value, quoted),
            Purposed::Read { .. } if missing => return object.existence.not_found(&object.name, "read"),
            _ => {}
        }
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
