//! Registry credentials: in the header `X-Registry-Auth` as JSON in URL-safe base64, or to be checked at `/auth`.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::json;
use skep_model::engine::RegistryAuth;

use crate::api::Api;
use crate::json::reads;
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;

/// Name of the header.
pub(crate) const HEADER: &str = "x-registry-auth";

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

// No shape of those that can be printed.
#[derive(Default)]
struct Wire {
    username: String,
    password: String,
    auth: String,
    serveraddress: String,
    identitytoken: String,
    registrytoken: String,
}

reads!(Wire {
    username: String => "username",
    password: String => "password",
    auth: String => "auth",
    serveraddress: String => "serveraddress",
    identitytoken: String => "identitytoken",
    registrytoken: String => "registrytoken",
});

/// The credentials of a request; `None` if it brings none.
pub(crate) fn of(request: &Request) -> Result<Option<RegistryAuth>, Failure> {
    parse(request.header(HEADER))
}

/// The same out of a header's text, also as it is kept in a service's spec.
pub(crate) fn parse(header: &str) -> Result<Option<RegistryAuth>, Failure> {
    if header.is_empty() {
        return Ok(None);
    }
    let invalid = |why: String| Failure::bad_request(format!("invalid X-Registry-Auth header: {why}"));
    // Some clients write the other alphabet.
    let header = header.replace('+', "-").replace('/', "_");
    let json = LENIENT.decode(header).map_err(|error| invalid(error.to_string()))?;
    // The error's own text could quote the credentials.
    let wire: Wire = serde_json::from_slice(&json).map_err(|_| invalid("it holds no JSON object".to_owned()))?;
    wire.credentials().map_err(|why| invalid(why.to_owned()))
}

/// `docker login`: the credentials in the body, shown to their registry. Docker's words for success.
pub(crate) async fn check(api: &Api, mut request: Request) -> Answer {
    let wire: Wire = request.json().await?;
    let server = wire.serveraddress.clone();
    let given = wire.credentials().map_err(|why| Failure::bad_request(format!("credentials: {why}")))?;
    let Some(credentials) = given else {
        return Err(Failure::bad_request("credentials: username is missing: give a user name and a password"));
    };
    api.engine.check_credentials(&server, credentials).await?;
    reply::ok(&json!({ "Status": "Login Succeeded", "IdentityToken": "" }))
}

impl Wire {
    /// `None` where there are none.
    fn credentials(self) -> Result<Option<RegistryAuth>, &'static str> {
        let mut wire = self;
        if wire.username.is_empty() && !wire.auth.is_empty() {
            let standard = base64::engine::general_purpose::STANDARD;
            let pair = standard.decode(&wire.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let (username, password) = pair
                .as_deref()
                .and_then(|pair| pair.split_once(':'))
                .ok_or("its field auth is not base64 of user:password")?;
            (wire.username, wire.password) = (username.to_owned(), password.to_owned());
        }
        let auth = RegistryAuth {
            username: wire.username,
            password: wire.password,
            identity_token: wire.identitytoken,
            registry_token: wire.registrytoken,
            server_address: wire.serveraddress,
        };
        let any = !(auth.username.is_empty() && auth.identity_token.is_empty() && auth.registry_token.is_empty());
        Ok(any.then_some(auth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_with_and_without_padding() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("e30=").unwrap(), None);
        let json = br#"{"username":"a","password":"b>?","serveraddress":"r:5000"}"#;
        let padded = base64::engine::general_purpose::URL_SAFE.encode(json);
        let bare = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
        let auth = parse(&padded).unwrap().unwrap();
        assert_eq!(parse(&bare).unwrap().unwrap(), auth);
        assert_eq!(
            (auth.username.as_str(), auth.password.as_str(), auth.server_address.as_str()),
            ("a", "b>?", "r:5000")
        );
        let joined = base64::engine::general_purpose::URL_SAFE.encode(br#"{"auth":"dTpwOnE="}"#);
        let auth = parse(&joined).unwrap().unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p:q"));
    }

    #[test]
    fn damage_is_refused_without_quoting_it() {
        for header in ["***", "bm90IGpzb24="] {
            let failure = parse(header).unwrap_err();
            assert_eq!(failure.status.as_u16(), 400);
            assert!(failure.message.starts_with("invalid X-Registry-Auth header"), "{}", failure.message);
        }
        let secret = base64::engine::general_purpose::URL_SAFE.encode(br#"{"password":{"hunter2":1}}"#);
        assert!(!parse(&secret).unwrap_err().message.contains("hunter2"));
    }
}
