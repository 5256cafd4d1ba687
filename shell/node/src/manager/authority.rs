//! Signing with the keys of the swarm's root, or having it done by whoever has them.

use bytes::Bytes;
use skep_manager::{Finding, Inquiry, NewRoot, RootReader, SignFailure, Signing};
use skep_model::Cluster;
use skep_pki::{Issuer, Next, Present, Signatory};
use skep_rpc::identity::{Signer, after_first, create_next_root, create_root, normalized, vouch};
use skep_rpc::{ExternalCas, Membership};

use crate::clock::Clock;

/// Reads roots that an operator brings.
pub(crate) const ROOT_READER: RootReader = RootReader {
    normalized,
    after_first,
    root: skep_rpc::identity::read_root,
    issuer: skep_rpc::identity::read_issuer,
};

/// Who signs for this manager. Cheap to clone.
#[derive(Clone)]
pub struct Authority {
    external: ExternalCas,
    clock: Clock,
}

impl Authority {
    /// External CAs see this node's certificate.
    pub fn new(external: ExternalCas, clock: Clock) -> Self {
        Self { external, clock }
    }

    /// The chain for a node's request, PEM.
    pub(super) async fn sign(&self, signing: &Signing, cluster: &Cluster) -> Result<Bytes, SignFailure> {
        let subject = Membership { node: signing.node.clone(), role: signing.role, cluster: cluster.id.clone() };
        match skep_pki::signatory(cluster, normalized)? {
            Signatory::External(issuer, intermediates) => {
                self.external.sign(&issuer, &intermediates, &signing.csr, &subject).await
            }
            Signatory::Own(issuer) => {
                let (csr, life, clock) = (signing.csr.clone(), skep_pki::certificate_life(cluster), self.clock);
                let sign = move || sign_here(&issuer, &csr, &subject, life, clock);
                blocking(sign).await.map_err(|reason| SignFailure { reason, is_passing: false })
            }
        }
    }

    /// Has the present root vouch for the next.
    pub(super) async fn vouch(&self, present: Present, next: Next) -> Result<NewRoot, String> {
        let clock = self.clock;
        match present {
            Present::Own(certificate, key) => {
                blocking(move || {
                    let key = std::str::from_utf8(&key).map_err(|error| error.to_string())?;
                    let made = match next {
                        Next::Made => create_next_root(&certificate, key, clock.now().wall, &mut clock.rng()),
                        Next::Given(given, given_key) => vouch(&certificate, key, &given, &given_key),
                    };
                    made.map_err(|error| error.to_string())
                })
                .await
            }
            Present::External(issuer) => {
                let (certificate, key) = match next {
                    Next::Given(certificate, key) => (certificate, key),
                    Next::Made => {
                        let (root, key) = create_root(clock.now().wall, &mut clock.rng()).map_err(|e| e.to_string())?;
                        (root.pem().clone(), Bytes::copy_from_slice(key.to_pem().as_bytes()))
                    }
                };
                self.external.vouch(&issuer, &certificate, &key).await
            }
        }
    }

    /// Finds something out.
    pub(crate) async fn find(&self, inquiry: Inquiry) -> Finding {
        match inquiry {
            Inquiry::Reach(issuer) => Finding::Reached(self.external.reach(&issuer).await),
            Inquiry::Vouch(present, next) => Finding::Vouched(self.vouch(present, next).await),
        }
    }
}

fn sign_here(
    issuer: &Issuer,
    csr: &Bytes,
    subject: &Membership,
    life: std::time::Duration,
    clock: Clock,
) -> Result<Bytes, String> {
    let key = std::str::from_utf8(&issuer.key).map_err(|error| error.to_string())?;
    let signer =
        Signer::new(&issuer.certificate, key, issuer.intermediates.clone()).map_err(|error| error.to_string())?;
    signer.sign(csr, subject, life, clock.now().wall, &mut clock.rng()).map_err(|error| error.to_string())
}

/// Away from the threads that serve connections.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("signing failed: {error}")))
}
