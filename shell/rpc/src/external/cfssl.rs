//! What cfssl's `sign` takes and answers.

use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::Failure;
use crate::identity::{CA, MANAGER, Subject, read_unit};

/// Under which a root is vouched for; nodes' certificates are of the default profile.
const CROSS_SIGNING_PROFILE: &str = "CA";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";

/// For a node's certificate: name and hosts are ours, whatever the node's request says.
pub(super) fn node_request(csr_pem: &[u8], subject: &Subject) -> Vec<u8> {
    let unit = read_unit(subject.role);
    let mut hosts = vec![unit, subject.node.as_str()];
    if unit == MANAGER {
        hosts.push(CA);
    }
    let request = json!({
        "hosts": hosts,
        "certificate_request": String::from_utf8_lossy(csr_pem),
        "subject": {
            "CN": subject.node.as_str(),
            "names": [{ "OU": unit, "O": subject.cluster.as_str() }],
        },
        "profile": "",
        "crl_override": "",
        "label": "",
    });
    request.to_string().into_bytes()
}

/// For a certificate with which the present root vouches for another.
pub(super) fn root_request(csr_pem: &str, root: &CertificateDer<'_>) -> Result<Vec<u8>, String> {
    let (_, root) = X509Certificate::from_der(root).map_err(|error| error.to_string())?;
    let constraints = root.extensions().iter().find(|extension| extension.oid.to_id_string() == BASIC_CONSTRAINTS);
    let extensions: Vec<Value> = constraints
        .iter()
        .map(|extension| {
            let hex: String = extension.value.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "id": BASIC_CONSTRAINTS, "critical": extension.critical, "value": hex })
        })
        .collect();
    let request = json!({
        "hosts": null,
        "certificate_request": csr_pem,
        "subject": { "CN": common_name(root.subject()), "names": names(root.subject()) },
        "profile": CROSS_SIGNING_PROFILE,
        "crl_override": "",
        "label": "",
        "extensions": extensions,
    });
    Ok(request.to_string().into_bytes())
}

fn common_name<'a>(name: &'a X509Name<'_>) -> &'a str {
    name.iter_common_name().find_map(|part| part.as_str().ok()).unwrap_or_default()
}

/// As cfssl names the parts.
fn names(name: &X509Name<'_>) -> Value {
    let mut parts = serde_json::Map::new();
    let mut put = |label: &str, value: Option<&str>| {
        if let Some(value) = value {
            parts.insert(label.to_owned(), Value::from(value));
        }
    };
    put("C", name.iter_country().find_map(|part| part.as_str().ok()));
    put("ST", name.iter_state_or_province().find_map(|part| part.as_str().ok()));
    put("L", name.iter_locality().find_map(|part| part.as_str().ok()));
    put("O", name.iter_organization().find_map(|part| part.as_str().ok()));
    put("OU", name.iter_organizational_unit().find_map(|part| part.as_str().ok()));
    if parts.is_empty() { json!([]) } else { json!([parts]) }
}

/// The certificate in an answer, PEM.
pub(super) fn certificate(answer: &[u8]) -> Result<String, Failure> {
    let answer: Value = serde_json::from_slice(answer)
        .map_err(|error| Failure::passing(format!("its answer is not cfssl's: {error}")))?;
    if let Some(certificate) = answer["result"]["certificate"].as_str().filter(|_| answer["success"] == true) {
        return Ok(certificate.to_owned());
    }
    let errors = answer["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let words: Vec<String> = errors
        .iter()
        .map(|error| format!("{} (code {})", error["message"].as_str().unwrap_or("?"), error["code"]))
        .collect();
    Err(Failure::lasting(match words.is_empty() {
        true => "it refused, without a reason".to_owned(),
        false => format!("it refused: {}", words.join(", ")),
    }))
}
