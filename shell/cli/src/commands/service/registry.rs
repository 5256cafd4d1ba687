//! What a client asks registries for, by way of the daemon: digests of images; and the credentials it sends along.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::api::escape_path;
use crate::context::Context;
use crate::failure::Failure;
use crate::logins::{DOCKER_HUB, Logins};
use crate::value::Value;

/// Pins the image of a spec to the digest that the registry names, and notes its platforms; a registry that cannot be
/// asked costs a warning.
pub async fn pin(context: &Context, spec: &mut Value, auth: Option<&str>) -> Option<String> {
    const IMAGE: &str = "TaskTemplate.ContainerSpec.Image";
    let image = spec.text(IMAGE).to_owned();
    if image.is_empty() || image.contains('@') {
        return None;
    }
    let tagged = with_tag(&image);
    spec.set(IMAGE, tagged.as_str());
    let headers: Vec<(&'static str, String)> =
        auth.map(|auth| ("x-registry-auth", auth.to_owned())).into_iter().collect();
    let path = format!("/distribution/{}/json", escape_path(&tagged));
    let answer = context.client.send(http::Method::GET, &path, &[], &headers, crate::api::Payload::Nothing).await;
    let found = match answer {
        Ok(answer) => read(answer).await,
        Err(failure) => Err(failure),
    };
    let digest = found.as_ref().map(|found| found.text("Descriptor.digest").to_owned()).unwrap_or_default();
    if digest.is_empty() {
        return Some(format!(
            "image {image} could not be accessed on a registry to record\nits digest. Each node will access {image} \
             independently,\npossibly leading to different nodes running different\nversions of the image.\n"
        ));
    }
    spec.set(IMAGE, format!("{tagged}@{digest}"));
    let platforms: Vec<Value> = found.iter().flat_map(|found| found.list("Platforms")).map(platform).collect();
    if !platforms.is_empty() {
        spec.set("TaskTemplate.Placement.Platforms", Value::List(platforms));
    }
    None
}

async fn read(answer: http::Response<hyper::body::Incoming>) -> Result<Value, Failure> {
    let mut documents = crate::api::JsonStream::new(crate::api::Pieces::new(answer));
    Ok(documents.next().await?.unwrap_or_default())
}

/// 32-bit ARM is any architecture: its variants cannot be told apart here.
fn platform(found: &Value) -> Value {
    let architecture = found.text("architecture");
    let architecture = if architecture.eq_ignore_ascii_case("arm") { "" } else { architecture };
    let mut platform = Value::empty_map();
    if !architecture.is_empty() {
        platform.set("Architecture", architecture);
    }
    platform.set("OS", found.text("os"));
    platform
}

fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}

/// `X-Registry-Auth` for an image, from docker's own file of logins.
pub fn credentials(image: &str) -> Result<String, Failure> {
    let registry = match image.split_once('/') {
        Some((first, _)) if first == "localhost" || first.contains(['.', ':']) => first,
        _ => DOCKER_HUB,
    };
    let mut auth = Value::empty_map();
    let logins = Logins::load()?;
    if let Some(entry) = logins.of(registry) {
        let decoded = STANDARD.decode(entry.text("auth")).unwrap_or_default();
        let decoded = String::from_utf8_lossy(&decoded).into_owned();
        if let Some((name, password)) = decoded.split_once(':') {
            auth.set("username", name);
            auth.set("password", password.trim_end_matches('\0'));
        }
        for member in ["identitytoken", "registrytoken"] {
            if !entry.text(member).is_empty() {
                auth.set(member, entry.text(member));
            }
        }
        auth.set("serveraddress", registry);
    }
    Ok(URL_SAFE.encode(auth.to_json()))
}
