//! External CAs: asking for certificates in cfssl's protocol (source: interop §1.8).
//!
//! It must never know the store: whom to ask for what is in its arguments. Flow: `ExternalCas::sign` → a request in
//! cfssl's JSON → each URL in turn over TLS with the manager's own certificate → the answer, checked. Start reading here.

mod cfssl;
mod https;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use skep_pki::{ExternalIssuer, NewRoot, SignFailure};
use tokio::time::Instant;

use crate::identity::{Subject, certificate_request, certificates, check_issued, check_voucher};
use crate::tls::Credentials;

/// How long one URL may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all of them together may take; those that are left then are not asked. Three such questions fit into the
/// minute that a follower gives its leader.
const ALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Characters of what a CA said that are passed on.
const REASON_MAX: usize = 512;

/// Asks external CAs, as this node.
#[derive(Clone, Debug)]
pub struct ExternalCas {
    credentials: Arc<Credentials>,
}

/// Why one URL gave nothing.
struct Failure {
    reason: String,
    /// Nothing that the CA decided.
    is_passing: bool,
}

impl Failure {
    fn passing(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), is_passing: true }
    }

    fn lasting(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), is_passing: false }
    }
}

impl ExternalCas {
    /// They see this node's certificate, as it is then.
    pub fn new(credentials: Arc<Credentials>) -> Self {
        Self { credentials }
    }

    /// Whether one of them at least answers, with a certificate that a trusted root vouches for.
    pub async fn reach(&self, issuer: &ExternalIssuer) -> Result<(), String> {
        self.in_turn(issuer, Question::Reach).await.map(drop).map_err(|failure| failure.reason)
    }

    /// A node's certificate, PEM, and what is to follow it.
    pub async fn sign(
        &self,
        issuer: &ExternalIssuer,
        intermediates: &Bytes,
        csr_pem: &Bytes,
        subject: &Subject,
    ) -> Result<Bytes, SignFailure> {
        let body = cfssl::node_request(csr_pem, subject);
        let question =
            Question::Sign { body, csr: csr_pem.clone(), subject: subject.clone(), root: issuer.root.clone() };
        match self.in_turn(issuer, question).await {
            Ok(leaf) => Ok(Bytes::from([leaf.as_bytes(), intermediates].concat())),
            Err(Failure { reason, is_passing }) => {
                Err(SignFailure { reason: format!("the external CA issued no certificate: {reason}"), is_passing })
            }
        }
    }

    /// Has the external CA of the present root vouch for the next one.
    pub async fn vouch(&self, issuer: &ExternalIssuer, certificate: &Bytes, key: &Bytes) -> Result<NewRoot, String> {
        let read = |pem: &[u8]| first(pem).ok_or_else(|| "a root certificate cannot be read".to_owned());
        let (present, next) = (read(&issuer.root)?, read(certificate)?);
        let key_pem = std::str::from_utf8(key).map_err(|error| error.to_string())?;
        let request = certificate_request(certificate, key_pem).map_err(|error| error.to_string())?;
        let body = cfssl::root_request(&request, &next)?;
        let vouched = self.in_turn(issuer, Question::Vouch { body, present, next }).await;
        let cross_signed = crate::identity::normalized(vouched.map_err(|failure| failure.reason)?.as_bytes());
        Ok(NewRoot { certificate: certificate.clone(), key: key.clone(), cross_signed })
    }

    /// The first answer; else what each of them said.
    async fn in_turn(&self, issuer: &ExternalIssuer, question: Question) -> Result<String, Failure> {
        let config = https::config(&self.credentials.identity(), &issuer.trusted).map_err(Failure::passing)?;
        let until = Instant::now() + ALL_TIMEOUT;
        let mut reasons: Vec<String> = Vec::new();
        let mut is_passing = true;
        for url in &issuer.urls {
            if Instant::now() >= until {
                reasons.push(format!("{url}: not asked, the others took {ALL_TIMEOUT:?}"));
                continue;
            }
            let answer = match https::address(url) {
                Ok(uri) => tokio::time::timeout(ANSWER_TIMEOUT, question.put(Arc::clone(&config), &uri))
                    .await
                    .unwrap_or_else(|_| Err(Failure::passing(format!("no answer within {ANSWER_TIMEOUT:?}")))),
                Err(reason) => Err(Failure::passing(reason)),
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    is_passing = failure.is_passing;
                    reasons.push(format!("{url}: {}", failure.reason.chars().take(REASON_MAX).collect::<String>()));
                }
            }
        }
        Err(Failure { reason: reasons.join("; "), is_passing })
    }
}

/// What a CA is asked.
enum Question {
    Reach,
    Sign { body: Vec<u8>, csr: Bytes, subject: Subject, root: Bytes },
    Vouch { body: Vec<u8>, present: CertificateDer<'static>, next: CertificateDer<'static> },
}

impl Question {
    /// Asks one, and checks its answer: a certificate, PEM.
    async fn put(&self, config: Arc<ClientConfig>, url: &Uri) -> Result<String, Failure> {
        match self {
            Self::Reach => https::connect(config, url).await.map(|_| String::new()).map_err(Failure::passing),
            Self::Sign { body, csr, subject, root } => {
                let answer = ask(config, url, body).await?;
                check_issued(answer.as_bytes(), csr, subject, root).map_err(Failure::lasting)
            }
            Self::Vouch { body, present, next } => {
                let answer = ask(config, url, body).await?;
                let voucher =
                    first(answer.as_bytes()).ok_or_else(|| Failure::lasting("its answer is no certificate"))?;
                check_voucher(&voucher, next, present).map_err(Failure::lasting)?;
                Ok(answer)
            }
        }
    }
}

async fn ask(config: Arc<ClientConfig>, url: &Uri, body: &[u8]) -> Result<String, Failure> {
    let (status, answer) = https::post(config, url, body).await.map_err(Failure::passing)?;
    if !status.is_success() {
        let said = String::from_utf8_lossy(&answer);
        return Err(Failure::passing(format!("it answered {status}: {}", said.trim())));
    }
    cfssl::certificate(&answer)
}

fn first(pem: &[u8]) -> Option<CertificateDer<'static>> {
    certificates(pem, "a certificate").ok()?.into_iter().next()
}
