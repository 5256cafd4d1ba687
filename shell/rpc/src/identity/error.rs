//! What can be wrong with a key or a certificate.

use skep_model::ids::InvalidId;

/// Why a key or certificate cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Making a key failed.
    #[error("cannot make a private key")]
    Generate(#[source] rcgen::Error),
    /// The text is not a private key that we can use.
    #[error("cannot read the private key: it must be PKCS#8 PEM of an ECDSA P-256/P-384 or RSA key")]
    Key(#[source] rcgen::Error),
    /// A key in a form, or on a curve, that nothing here signs with.
    #[error("the private key is in a form that cannot be used: it must be PKCS#8, SEC1 or PKCS#1, and not encrypted")]
    KeyForm,
    /// A certificate that another cannot be made of.
    #[error("the certificate lacks parts that every certificate has")]
    Parts,
    /// A root that allows no CA beneath it.
    #[error(
        "the present root certificate allows no CA beneath it (pathlen 0): nobody would trust another root by its word"
    )]
    PathLength,
    /// A root that says another name, or another key, after it was vouched for.
    #[error("the certificate with which the present root vouches for the next one says another {what} than that root")]
    Voucher {
        /// What is different.
        what: &'static str,
    },
    /// Making a request for a certificate failed.
    #[error("cannot make a certificate request")]
    Csr(#[source] rcgen::Error),
    /// Making a certificate failed.
    #[error("cannot sign a certificate")]
    Sign(#[source] rcgen::Error),
    /// Not PEM, or nothing in it.
    #[error("{what} is not PEM, or holds no {label} block")]
    Pem {
        /// Which input.
        what: &'static str,
        /// The expected label.
        label: &'static str,
    },
    /// Not X.509.
    #[error("{what} cannot be parsed as X.509: {detail}")]
    Parse {
        /// Which input.
        what: &'static str,
        /// The parser's words.
        detail: String,
    },
    /// A request that does not prove possession of its key.
    #[error("the certificate request is not signed by its own key")]
    CsrSignature,
    /// A root that another certificate signed.
    #[error("certificate {position} of the root bundle does not verify against itself")]
    NotSelfSigned {
        /// Position in the bundle, from 1.
        position: usize,
    },
    /// A root that is past its life, or not yet in it.
    #[error("certificate {position} of the root bundle is outside its validity")]
    RootExpired {
        /// Position in the bundle, from 1.
        position: usize,
    },
    /// The chain is out of order or does not end at the root.
    #[error("certificate {position} of the chain is not signed by the next one or by the swarm's root")]
    Chain {
        /// Position in the chain, from 1.
        position: usize,
    },
    /// The certificate is for another key.
    #[error("the certificate does not belong to this node's private key")]
    OtherKey,
    /// A subject without CN, OU or O, or with an unknown OU.
    #[error("the certificate's subject lacks {field}")]
    Subject {
        /// The missing part.
        field: &'static str,
    },
    /// A CA that issued a certificate for something else than was asked.
    #[error(
        "the certificate names another node, role or swarm than was asked for: the CA must take the subject of the request to sign"
    )]
    OtherSubject,
    /// The CN cannot be a node id.
    #[error("the certificate's CN is not a node id")]
    NodeId(#[source] InvalidId),
    /// A time that no certificate can carry.
    #[error("the clock shows a time that a certificate cannot carry")]
    Clock,
}
