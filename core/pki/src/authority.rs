//! A root of one's own and external CAs (source: interop §1.8): what an operator may ask for, what must be known of the
//! world before it is granted, and what the swarm's root is from then on.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use skep_model::pb::types::{CaConfig, ExternalCa, RootCa, RootRotation, external_ca::CaProtocol};
use skep_model::{Cluster, Code, Refusal, WallTime};

use crate::root_change::{IssuerIdentity, NewRoot, is_told};

/// A root of one's own lives at least so long from now on.
const ROOT_LIFE_LEFT_MIN: Duration = Duration::from_secs(365 * 24 * 3600);
/// Things that may have to be found out for one request: the CAs of two roots, and a signature.
pub const FINDINGS_MAX: usize = 4;

/// Reads a bundle and the key that is to be its: PEM, PEM or nothing, now.
pub type ReadRoot = fn(&[u8], &[u8], WallTime) -> Result<RootFacts, String>;

/// Reads roots. X.509 is the shell's, the functions are pure.
#[derive(Clone, Copy)]
pub struct RootReader {
    /// The PEM blocks of a text, without headers and in one layout; nothing where there are none.
    pub normalized: fn(&[u8]) -> Bytes,
    /// The same without the first block: what follows a certificate.
    pub after_first: fn(&[u8]) -> Bytes,
    /// Reads a bundle that is to be the root, and checks that a key (if there is one) is its key. Says why not, in
    /// Docker's words.
    pub root: ReadRoot,
    /// Whose name and key the certificates carry that a root (the first of a bundle) issues.
    pub issuer: fn(&[u8]) -> Option<IssuerIdentity>,
}

impl fmt::Debug for RootReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RootReader")
    }
}

/// What a root says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFacts {
    /// How many certificates are in the bundle.
    pub certificates: usize,
    /// When the first expires.
    pub expires: WallTime,
}

/// Where certificates of one root are issued that the swarm has no key for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalIssuer {
    /// Asked in turn; each speaks cfssl's protocol.
    pub urls: Vec<String>,
    /// Roots of which one must vouch for whoever answers there. PEM.
    pub trusted: Bytes,
    /// The root whose certificates they issue, PEM.
    pub root: Bytes,
}

/// What has to be found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inquiry {
    /// Whether one of them at least answers, and is who it should be.
    Reach(ExternalIssuer),
    /// The present root is to vouch for the next.
    Vouch(Present, Next),
}

/// Who vouches.
#[derive(Clone, PartialEq, Eq)]
pub enum Present {
    /// The swarm itself, with certificate and key of its root. PEM.
    Own(Bytes, Bytes),
    /// An external CA.
    External(ExternalIssuer),
}

/// Leaves the key out.
impl fmt::Debug for Present {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(..) => formatter.write_str("Own(redacted)"),
            Self::External(issuer) => formatter.debug_tuple("External").field(issuer).finish(),
        }
    }
}

/// For whom.
#[derive(Clone, PartialEq, Eq)]
pub enum Next {
    /// A root that is to be made.
    Made,
    /// The operator's, certificate and key (which may be elsewhere: empty). PEM.
    Given(Bytes, Bytes),
}

/// Leaves the key out.
impl fmt::Debug for Next {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Made => "Made",
            Self::Given(..) => "Given(redacted)",
        })
    }
}

/// What was found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// To `Reach`.
    Reached(Result<(), String>),
    /// To `Vouch`.
    Vouched(Result<NewRoot, String>),
}

/// What is known already of the world.
pub type Findings = Vec<(Inquiry, Finding)>;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// It is not granted.
    Refused(Refusal),
    /// Something has to be found out first.
    Unknown(Box<Inquiry>),
}

impl From<Refusal> for Obstacle {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A wish for the swarm's certificates, against what is.
struct Wish<'a> {
    root: &'a RootCa,
    /// The present root.
    present: Bytes,
    /// The root that is wanted; empty for none in particular.
    certificate: Bytes,
    key: &'a Bytes,
    forced: u64,
    external: &'a [ExternalCa],
    reader: RootReader,
    findings: &'a Findings,
}

/// The cluster's root under other settings. What has to be known of the world for that is in `findings`, or asked for.
/// In the order in which SwarmKit checks, so that the same is said of what is wrong twice.
pub fn root_under(
    cluster: &Cluster,
    config: &CaConfig,
    reader: RootReader,
    now: WallTime,
    findings: &Findings,
) -> Result<RootCa, Obstacle> {
    let wish = Wish {
        root: &cluster.root_ca,
        present: (reader.normalized)(&cluster.root_ca.ca_cert),
        certificate: (reader.normalized)(&config.signing_ca_cert),
        key: &config.signing_ca_key,
        forced: config.force_rotate,
        external: &config.external_cas,
        reader,
        findings,
    };
    if !wish.key.is_empty() && wish.certificate.is_empty() {
        return refused("if a signing CA key is provided, the signing CA cert must also be provided");
    }
    if wish.root.ca_key.is_empty() {
        if wish.certificate == wish.present && !wish.key.is_empty() {
            wish.read(now)?;
            return Ok(wish.present_root());
        }
        wish.reach(&wish.present, "current")?;
    }
    match wish.certificate.is_empty() {
        true => wish.without_certificate(),
        false => wish.with_certificate(now),
    }
}

impl Wish<'_> {
    fn without_certificate(&self) -> Result<RootCa, Obstacle> {
        let is_forced = self.forced != self.root.last_forced_rotation;
        // A root of the swarm's own making that the present one can vouch for is made afterwards (`RootChange`).
        if is_forced && self.root.ca_key.is_empty() {
            return self.rotate(Next::Made);
        }
        let rotation = self.root.root_rotation.as_ref().filter(|rotation| rotation.ca_key.is_empty());
        if let Some(rotation) = rotation.filter(|_| !is_forced) {
            self.reach(&(self.reader.normalized)(&rotation.ca_cert), "next")?;
        }
        Ok(self.root.clone())
    }

    fn with_certificate(&self, now: WallTime) -> Result<RootCa, Obstacle> {
        let facts = self.read(now)?;
        if facts.certificates != 1 {
            return refused("the desired CA certificate cannot contain multiple certificates");
        }
        let needed = i64::try_from(ROOT_LIFE_LEFT_MIN.as_nanos()).unwrap_or(i64::MAX);
        if facts.expires.0 < now.0.saturating_add(needed) {
            return refused("CA certificate expires too soon");
        }
        if self.key.is_empty() {
            self.reach(&self.certificate, "desired")?;
        }
        if self.certificate == self.present {
            return Ok(self.present_root());
        }
        let public_key = |pem: &[u8]| (self.reader.issuer)(pem).map(|issuer| issuer.public_key);
        if public_key(&self.certificate) == public_key(&self.present) {
            return refused("Cannot update to a cert with an identical key");
        }
        let rotation = self.root.root_rotation.as_ref();
        if let Some(rotation) = rotation.filter(|next| (self.reader.normalized)(&next.ca_cert) == self.certificate) {
            return Ok(RootCa {
                root_rotation: Some(RootRotation { ca_key: self.key.clone(), ..rotation.clone() }),
                last_forced_rotation: self.forced,
                ..self.root.clone()
            });
        }
        self.rotate(Next::Given(self.certificate.clone(), self.key.clone()))
    }

    fn read(&self, now: WallTime) -> Result<RootFacts, Refusal> {
        (self.reader.root)(&self.certificate, self.key, now).map_err(Refusal::invalid)
    }

    /// The present root, with that key or none; a change that is under way ends.
    fn present_root(&self) -> RootCa {
        let cross_signed_ca_cert = self.earlier_word();
        let (ca_cert, ca_key) = (self.root.ca_cert.clone(), self.key.clone());
        let root_rotation = (!cross_signed_ca_cert.is_empty()).then(|| RootRotation {
            ca_cert,
            ca_key: ca_key.clone(),
            cross_signed_ca_cert,
        });
        RootCa { ca_key, root_rotation, last_forced_rotation: self.forced, ..self.root.clone() }
    }

    /// What an earlier root says for the present one, while nodes may trust that one still: behind the present one's word
    /// for the next, if a change is under way already.
    fn earlier_word(&self) -> Bytes {
        match &self.root.root_rotation {
            Some(told) if is_told(self.root, told) => told.cross_signed_ca_cert.clone(),
            Some(next) => (self.reader.after_first)(&next.cross_signed_ca_cert),
            None => Bytes::new(),
        }
    }

    /// External CAs of a root; those without one are the present root's.
    fn issuer_of(&self, root: &Bytes) -> ExternalIssuer {
        let urls = external_urls(self.external, root, &self.present, self.reader.normalized);
        ExternalIssuer { urls, trusted: root.clone(), root: root.clone() }
    }

    fn reach(&self, root: &Bytes, which: &str) -> Result<(), Obstacle> {
        let issuer = self.issuer_of(root);
        let none = format!(
            "there must be at least one valid, reachable external CA corresponding to the {which} CA certificate"
        );
        if issuer.urls.is_empty() {
            return refused(none);
        }
        match self.found(Inquiry::Reach(issuer))? {
            Finding::Reached(Ok(())) => Ok(()),
            Finding::Reached(Err(why)) => refused(format!("{none}: {why}")),
            Finding::Vouched(_) => Err(mistaken().into()),
        }
    }

    /// Begins a change to another root, which the present one vouches for.
    fn rotate(&self, next: Next) -> Result<RootCa, Obstacle> {
        let has_key = match &next {
            Next::Made => true,
            Next::Given(_, key) => !key.is_empty(),
        };
        let present = match self.root.ca_key.is_empty() {
            false => Present::Own(self.present.clone(), self.root.ca_key.clone()),
            true if !has_key => {
                return refused("rotating from one external CA to a different external CA is not supported");
            }
            true => Present::External(self.issuer_of(&self.present)),
        };
        match self.found(Inquiry::Vouch(present, next))? {
            Finding::Vouched(Ok(made)) => {
                // Who has not heard of the present root yet accepts the next one by way of it.
                Ok(RootCa {
                    root_rotation: Some(RootRotation {
                        ca_cert: made.certificate.clone(),
                        ca_key: made.key.clone(),
                        cross_signed_ca_cert: [made.cross_signed.clone(), self.earlier_word()].concat().into(),
                    }),
                    last_forced_rotation: self.forced,
                    ..self.root.clone()
                })
            }
            Finding::Vouched(Err(why)) => {
                let message = format!("unable to generate a cross-signed certificate for root rotation: {why}");
                Err(Refusal::new(Code::Internal, message).into())
            }
            Finding::Reached(_) => Err(mistaken().into()),
        }
    }

    fn found(&self, inquiry: Inquiry) -> Result<&Finding, Obstacle> {
        let known = self.findings.iter().find(|(asked, _)| *asked == inquiry);
        known.map(|(_, finding)| finding).ok_or_else(|| Obstacle::Unknown(Box::new(inquiry)))
    }
}

fn refused<T>(message: impl Into<String>) -> Result<T, Obstacle> {
    Err(Refusal::invalid(message.into()).into())
}

fn mistaken() -> Refusal {
    Refusal::new(Code::Internal, "an inquiry into the swarm's CA was answered by what belongs to another")
}

/// The URLs at which certificates of a root are issued; an entry without a root is the present root's.
pub(crate) fn external_urls(
    external: &[ExternalCa],
    root: &[u8],
    present: &[u8],
    normalized: fn(&[u8]) -> Bytes,
) -> Vec<String> {
    let issues = |ca: &&ExternalCa| {
        let is_cfssl = ca.protocol() == CaProtocol::CaprotocolCfssl;
        is_cfssl && if ca.ca_cert.is_empty() { root == present } else { normalized(&ca.ca_cert) == *root }
    };
    external.iter().filter(issues).map(|ca| ca.url.clone()).collect()
}
