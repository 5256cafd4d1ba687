//! Roots of one's own and external CAs that are refused, and a list of external CAs that is kept.

use serde_json::{Value, json};

use super::Pair;
use crate::authority::{PKCS8_KEY, Roots};

pub fn roots_and_external_cas(pair: &mut Pair, roots: &Roots) {
    roots.make("good", PKCS8_KEY, "/CN=good", "800");
    roots.make("other", PKCS8_KEY, "/CN=other", "800");
    roots.make("short", PKCS8_KEY, "/CN=short", "30");
    roots.make("weak", "genrsa 1024", "/CN=weak", "800");
    roots.make("edwards", "genpkey -algorithm ed25519", "/CN=edwards", "800");
    roots.make("curve", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp224r1", "/CN=curve", "800");
    let sha1 =
        ["req", "-x509", "-key", "good-key.pem", "-days", "800", "-subj", "/CN=sha1", "-sha1", "-out", "sha1.pem"];
    roots.openssl(&sha1);
    roots.openssl(&["pkcs8", "-topk8", "-in", "good-key.pem", "-out", "locked-key.pem", "-passout", "pass:word"]);
    let encrypted = ["ec", "-in", "good-key.pem", "-aes128", "-passout", "pass:word", "-out", "old-locked-key.pem"];
    roots.openssl(&encrypted);

    let update = "/swarm/update?version=<version swarm>";
    let mut refuse = |step: &str, certificate: &str, key: &str, external: Value| {
        let config = json!({ "SigningCACert": certificate, "SigningCAKey": key, "ExternalCAs": external });
        pair.post(&format!("root {step}"), update, &json!({ "Name": "default", "CAConfig": config }));
    };
    let read = |name: &str| (roots.read(&format!("{name}.pem")), roots.read(&format!("{name}-key.pem")));
    let (good, good_key) = read("good");
    refuse("key alone", "", &good_key, json!([]));
    refuse("no PEM", "a certificate", &good_key, json!([]));
    refuse("no certificate", &good_key, &good_key, json!([]));
    refuse("key of another", &good, &read("other").1, json!([]));
    refuse("no key", &good, &good, json!([]));
    refuse("key no PEM", &good, "a key", json!([]));
    refuse("key locked", &good, &roots.read("locked-key.pem"), json!([]));
    refuse("key locked as of old", &good, &roots.read("old-locked-key.pem"), json!([]));
    refuse("two", &(good.clone() + &read("other").0), &good_key, json!([]));
    for name in ["short", "weak", "edwards", "curve"] {
        let (certificate, key) = read(name);
        refuse(name, &certificate, &key, json!([]));
    }
    refuse("sha1", &roots.read("sha1.pem"), &good_key, json!([]));
    refuse("without key", &good, "", json!([]));
    let elsewhere = json!([{ "Protocol": "cfssl", "URL": "https://127.0.0.1:1/", "CACert": read("other").0 }]);
    refuse("without key, a CA of another", &good, "", elsewhere.clone());
    let plain = json!([{ "Protocol": "cfssl", "URL": "http://127.0.0.1:1/", "CACert": good }]);
    refuse("without key, a CA without TLS", &good, "", plain);
    // A list alone is kept; while no entry is of the present root, nobody is asked there.
    refuse("external CAs kept", "", "", elsewhere);
    pair.get("swarm with external CAs", "/swarm");
    pair.post("swarm without external CAs", update, &json!({ "Name": "default" }));
    pair.get("swarm without external CAs", "/swarm");
}
