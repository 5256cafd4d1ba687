//! DER that no library writes for us: what is signed must keep names and extensions byte for byte, or no chain is found.

use rcgen::{PublicKeyData as _, SigningKey as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use yasna::models::ObjectIdentifier;
use yasna::{ASN1Result, DERWriter, Tag};
use zeroize::Zeroizing;

use super::IdentityError;
use super::key::WipedPair;

const AUTHORITY_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 35];
const EC_PUBLIC_KEY: &[u64] = &[1, 2, 840, 10045, 2, 1];
const RSA_ENCRYPTION: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];
const SHA256_WITH_RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 11];
const ECDSA_WITH_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
const ECDSA_WITH_SHA384: &[u64] = &[1, 2, 840, 10045, 4, 3, 3];
/// Tag of a certificate's extensions, and of the curve in a SEC1 key.
const EXTENSIONS: u64 = 3;
/// As it is encoded.
const EXTENSIONS_BYTE: u8 = 0xa3;
const CURVE: u64 = 0;

/// A key as PKCS#8. OpenSSL and cfssl also write SEC1 and PKCS#1.
pub(super) fn pkcs8(key: &PrivateKeyDer<'_>) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let wrapped = |algorithm: &[u64], curve: Option<ObjectIdentifier>, inner: &[u8]| {
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_u8(0);
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(algorithm));
                    match curve {
                        Some(curve) => writer.next().write_oid(&curve),
                        None => writer.next().write_null(),
                    }
                });
                writer.next().write_bytes(inner);
            });
        })
    };
    let der = match key {
        PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der().to_vec(),
        PrivateKeyDer::Pkcs1(key) => wrapped(RSA_ENCRYPTION, None, key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => {
            let curve = curve(key.secret_sec1_der()).map_err(|_| IdentityError::KeyForm)?;
            wrapped(EC_PUBLIC_KEY, Some(curve), key.secret_sec1_der())
        }
        _ => return Err(IdentityError::KeyForm),
    };
    Ok(Zeroizing::new(der))
}

fn curve(sec1: &[u8]) -> ASN1Result<ObjectIdentifier> {
    yasna::parse_der(sec1, |reader| {
        reader.read_sequence(|reader| {
            reader.next().read_u8()?;
            reader.next().read_bytes().map(Zeroizing::new)?;
            let curve = reader.next().read_tagged(Tag::context(CURVE), |reader| reader.read_oid())?;
            // The public key.
            reader.read_optional(|reader| reader.read_der())?;
            Ok(curve)
        })
    })
}

/// A certificate's content under another issuer's name, signed by that one.
pub(super) fn reissued(
    certificate: &CertificateDer<'_>,
    issuer: &X509Certificate<'_>,
    pair: &WipedPair,
) -> Result<CertificateDer<'static>, IdentityError> {
    let name = issuer.subject().as_raw();
    let unreadable = |_| IdentityError::Parts;
    let mut parts = parts_of_certificate(certificate).map_err(unreadable)?;
    let [_version, _serial, algorithm, issuer, _validity, _subject, _key, ..] = parts.as_mut_slice() else {
        return Err(IdentityError::Parts);
    };
    *algorithm = yasna::construct_der(|writer| write_algorithm(writer, pair));
    *issuer = name.to_vec();
    for part in &mut parts {
        if part.first() == Some(&EXTENSIONS_BYTE) {
            *part = without_authority_key(part).map_err(unreadable)?;
        }
    }
    Ok(CertificateDer::from(sealed(&sequence(&parts), pair)?))
}

/// A request for a certificate of that name for that key.
pub(super) fn request(certificate: &X509Certificate<'_>, pair: &WipedPair) -> Result<Vec<u8>, IdentityError> {
    let content = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(0);
            writer.next().write_der(certificate.subject().as_raw());
            writer.next().write_der(certificate.public_key().raw);
            writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_set(|_| ()));
        });
    });
    sealed(&content, pair)
}

/// Content, algorithm and signature: certificates and requests are made of them.
fn sealed(content: &[u8], pair: &WipedPair) -> Result<Vec<u8>, IdentityError> {
    let signature = pair.sign(content).map_err(IdentityError::Sign)?;
    Ok(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_der(content);
            write_algorithm(writer.next(), pair);
            writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    }))
}

fn write_algorithm(writer: DERWriter<'_>, pair: &WipedPair) {
    let algorithm = pair.algorithm();
    let is_rsa = *algorithm == rcgen::PKCS_RSA_SHA256;
    let name = match is_rsa {
        true => SHA256_WITH_RSA,
        false if *algorithm == rcgen::PKCS_ECDSA_P384_SHA384 => ECDSA_WITH_SHA384,
        false => ECDSA_WITH_SHA256,
    };
    writer.write_sequence(|writer| {
        writer.next().write_oid(&ObjectIdentifier::from_slice(name));
        if is_rsa {
            writer.next().write_null();
        }
    });
}

fn parts_of_certificate(certificate: &[u8]) -> ASN1Result<Vec<Vec<u8>>> {
    yasna::parse_der(certificate, |reader| {
        reader.read_sequence(|reader| {
            let content = reader.next().collect_sequence_of(|reader| reader.read_der())?;
            reader.next().read_der()?;
            reader.next().read_der()?;
            Ok(content)
        })
    })
}

fn without_authority_key(extensions: &[u8]) -> ASN1Result<Vec<u8>> {
    let all = yasna::parse_der(extensions, |reader| {
        reader.read_tagged(Tag::context(EXTENSIONS), |reader| reader.collect_sequence_of(|reader| reader.read_der()))
    })?;
    let mut kept = Vec::with_capacity(all.len());
    for extension in all {
        let parts = yasna::parse_der(&extension, |reader| reader.collect_sequence_of(|reader| reader.read_der()))?;
        let name = parts.first().map(|name| yasna::parse_der(name, |reader| reader.read_oid())).transpose()?;
        if name != Some(ObjectIdentifier::from_slice(AUTHORITY_KEY_IDENTIFIER)) {
            kept.push(extension);
        }
    }
    let kept = sequence(&kept);
    Ok(yasna::construct_der(|writer| writer.write_tagged(Tag::context(EXTENSIONS), |writer| writer.write_der(&kept))))
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| parts.iter().for_each(|part| writer.next().write_der(part)));
    })
}
