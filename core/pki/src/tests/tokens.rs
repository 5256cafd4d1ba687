//! Tokens and keys as texts.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use skep_model::pb::types::{JoinTokens, NodeRole};

use crate::token::{self, RootDigest, UnlockKey};

const ROOT: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

#[test]
fn a_token_names_its_root_and_has_dockers_form() {
    let token = token::generate(ROOT, false, &mut rng());
    assert_eq!(token.len(), "SWMTKN-1-".len() + 50 + 1 + 25);
    let parsed = token::parse(&token).expect("own tokens parse");
    assert_eq!(parsed.root, RootDigest::of(ROOT));
    assert!(!parsed.fips);
}

#[test]
fn the_digest_is_the_number_that_another_engine_prints() {
    // sha256("") in base 36, computed with arbitrary-precision arithmetic elsewhere.
    let empty = RootDigest::of(b"");
    assert_eq!(empty.to_hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let token = token::generate(b"", false, &mut rng());
    assert_eq!(token::parse(&token).expect("parses").root, empty);
    assert_eq!(token.split('-').nth(2), Some(EMPTY_DIGEST));
}

const EMPTY_DIGEST: &str = "5oaq0bjhj6un82wg98mgigso5q7qlhc63je4gw7ivixqqhkd3p";

#[test]
fn the_second_form_carries_the_fips_flag() {
    let token = token::generate(ROOT, true, &mut rng());
    assert!(token.starts_with("SWMTKN-2-1-"));
    assert!(token::parse(&token).expect("parses").fips);
}

#[test]
fn texts_that_are_no_tokens_are_refused() {
    let good = token::generate(ROOT, false, &mut rng());
    let too_large = format!("SWMTKN-1-{}-{}", "z".repeat(50), "a".repeat(25));
    let upper = good.to_uppercase();
    for bad in
        ["", "SWMTKN-1", "SWMTKN-3-a-b", &good[1..], &good[..good.len() - 1], &too_large, &upper, &format!("{good}-x")]
    {
        assert!(token::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_role_follows_from_the_token_that_matches() {
    let mut rng = rng();
    let tokens = token::generate_both(ROOT, false, &mut rng);
    assert_eq!(token::role(&tokens, &tokens.manager), Some(NodeRole::Manager));
    assert_eq!(token::role(&tokens, &tokens.worker), Some(NodeRole::Worker));
    assert_eq!(token::role(&tokens, &token::generate(ROOT, false, &mut rng)), None);
    assert_eq!(token::role(&tokens, &tokens.worker[..tokens.worker.len() - 1]), None);
    assert_eq!(token::role(&JoinTokens::default(), ""), None);
}

#[test]
fn unlock_keys_are_read_as_they_are_written() {
    let key = UnlockKey::generate(&mut rng());
    let text = key.to_text();
    assert_eq!(text.len(), "SWMKEY-1-".len() + 43);
    assert_eq!(UnlockKey::parse(&text), Some(key.clone()));
    assert_eq!(UnlockKey::parse(&text[..text.len() - 1]), None);
    assert_eq!(UnlockKey::parse("SWMKEY-2-AAAA"), None);
    assert_eq!(format!("{key:?}"), "UnlockKey(redacted)");
    let zeros = UnlockKey::from_bytes(&[0; 32]).expect("32 bytes");
    assert_eq!(zeros.to_text(), format!("SWMKEY-1-{}", "A".repeat(43)));
    assert_eq!(UnlockKey::parse(&format!("SWMKEY-1-{}B", "A".repeat(42))), None, "spare bits must be zero");
}
