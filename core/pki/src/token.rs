//! Join tokens and unlock keys: texts that an operator carries from one host to another (interop §1.5).

use std::fmt;

use rand_core::RngCore;
use sha2::{Digest, Sha256};
use skep_model::ids::base36;
use skep_model::pb::types::{JoinTokens, NodeRole};
use subtle::{ConditionallySelectable, ConstantTimeEq};

const PREFIX: &str = "SWMTKN-";
const DIGEST_DIGITS: usize = 50;
const DIGEST_BYTES: usize = 32;
const SECRET_BYTES: usize = 16;
const SECRET_DIGITS: usize = 25;

/// A text that is not a join token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid join token")]
pub struct InvalidToken;

/// SHA-256 over the exact PEM bytes of a root bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootDigest([u8; DIGEST_BYTES]);

impl RootDigest {
    /// The digest of a bundle. Never of a bundle that was encoded again: one byte more is another swarm.
    pub fn of(root_pem: &[u8]) -> Self {
        Self(Sha256::digest(root_pem).into())
    }

    /// In hex, as people compare it.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// As `Cluster.RootCA.CACertHash` has it.
    pub fn to_cert_hash(&self) -> String {
        format!("sha256:{}", self.to_hex())
    }
}

/// What a newcomer reads from its token. The secret is for the managers; it stays within the whole text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParsedToken {
    /// Which root to expect.
    pub root: RootDigest,
    /// Whether the swarm demands FIPS mode.
    pub fips: bool,
}

/// Reads a token of either version.
pub fn parse(token: &str) -> Result<ParsedToken, InvalidToken> {
    let parts: Vec<&str> = token.strip_prefix(PREFIX).ok_or(InvalidToken)?.split('-').collect();
    let (fips, digest, secret) = match parts.as_slice() {
        ["1", digest, secret] => (false, digest, secret),
        ["2", fips @ ("0" | "1"), digest, secret] => (*fips == "1", digest, secret),
        _ => return Err(InvalidToken),
    };
    if digest.len() != DIGEST_DIGITS || secret.len() != SECRET_DIGITS || !is_base36(secret) {
        return Err(InvalidToken);
    }
    Ok(ParsedToken { root: RootDigest(from_base36(digest).ok_or(InvalidToken)?), fips })
}

/// A new token for a root.
pub fn generate(root_pem: &[u8], fips: bool, rng: &mut dyn RngCore) -> String {
    let digest = base36(&RootDigest::of(root_pem).0);
    let mut secret = [0u8; SECRET_BYTES];
    rng.fill_bytes(&mut secret);
    let secret = base36(&secret);
    let version = if fips { "2-1" } else { "1" };
    format!("{PREFIX}{version}-{digest:0>DIGEST_DIGITS$}-{secret:0>SECRET_DIGITS$}")
}

/// New tokens for both roles.
pub fn generate_both(root_pem: &[u8], fips: bool, rng: &mut dyn RngCore) -> JoinTokens {
    JoinTokens { worker: generate(root_pem, fips, rng), manager: generate(root_pem, fips, rng) }
}

/// Which role a token grants; `None` for a token that is not one of the two. Takes the same time whichever it is.
pub fn role(tokens: &JoinTokens, token: &str) -> Option<NodeRole> {
    let equal = |stored: &str| (!stored.is_empty()) & bool::from(stored.as_bytes().ct_eq(token.as_bytes()));
    let (manager, worker) = (equal(&tokens.manager), equal(&tokens.worker));
    let found = u8::conditional_select(&u8::from(worker), &2, u8::from(manager).into());
    match found {
        2 => Some(NodeRole::Manager),
        1 => Some(NodeRole::Worker),
        _ => None,
    }
}

fn is_base36(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

/// Base 36 to exactly the bytes of a digest; `None` if it is not base 36 or too large.
fn from_base36(text: &str) -> Option<[u8; DIGEST_BYTES]> {
    let mut bytes = [0u8; DIGEST_BYTES];
    if !is_base36(text) {
        return None;
    }
    for digit in text.chars() {
        let mut carry = digit.to_digit(36)?;
        for byte in bytes.iter_mut().rev() {
            let value = u32::from(*byte) * 36 + carry;
            *byte = (value & 0xff) as u8;
            carry = value >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(bytes)
}

const UNLOCK_PREFIX: &str = "SWMKEY-1-";
const UNLOCK_BYTES: usize = 32;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The key that unlocks managers.
#[derive(Clone, PartialEq, Eq)]
pub struct UnlockKey([u8; UNLOCK_BYTES]);

impl UnlockKey {
    /// A new key.
    pub fn generate(rng: &mut dyn RngCore) -> Self {
        let mut bytes = [0u8; UNLOCK_BYTES];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The key from its bytes, as the cluster object stores them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads `SWMKEY-1-…`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(UNLOCK_PREFIX)?.as_bytes();
        if digits.len() != (UNLOCK_BYTES * 8).div_ceil(6) {
            return None;
        }
        let mut bytes = Vec::with_capacity(UNLOCK_BYTES);
        let (mut buffer, mut bits) = (0u32, 0u32);
        for digit in digits {
            let value = BASE64.iter().position(|letter| letter == digit)?;
            buffer = (buffer << 6 | u32::try_from(value).ok()?) & 0xffff;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                bytes.push((buffer >> bits & 0xff) as u8);
            }
        }
        // The last digit's spare bits are zero, so that one key has one text.
        if buffer & ((1 << bits) - 1) != 0 {
            return None;
        }
        Self::from_bytes(&bytes)
    }

    /// The key's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the operator writes down.
    pub fn to_text(&self) -> String {
        let mut text = UNLOCK_PREFIX.to_owned();
        for chunk in self.0.chunks(3) {
            let mut group = [0u8; 3];
            group[..chunk.len()].copy_from_slice(chunk);
            let value = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
            for digit in 0..=chunk.len() {
                text.push(char::from(BASE64[(value >> (18 - 6 * digit) & 0x3f) as usize]));
            }
        }
        text
    }
}

/// The key itself is nobody's business.
impl fmt::Debug for UnlockKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UnlockKey(redacted)")
    }
}
