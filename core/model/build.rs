//! Compiles the wire schema with protox (no `protoc`) in layers, so that upper layers hold the
//! lower ones in wrappers that keep what we do not know: specs as `Verbatim<T>`, networks as
//! `Shared<T>`, objects as `Kept<T>`.

use std::path::PathBuf;

const PACKAGE: &str = ".docker.swarmkit.v1";
const TYPES: &[&str] = &["types.proto", "specs.proto"];
const OBJECTS: &[&str] = &["objects.proto"];
const MESSAGES: &[&str] = &[
    "ca.proto",
    "control.proto",
    "dispatcher.proto",
    "health.proto",
    "logbroker.proto",
    "raft.proto",
    "resource.proto",
    "snapshot.proto",
    "watch.proto",
];

/// Messages of `objects.proto` that stand in the others, shared.
const NETWORKS: &[&str] = &["Network", "Meta"];

/// Messages that a user or another manager wrote and that must come back byte-equal.
const VERBATIM: &[&str] = &[
    "NodeSpec",
    "ServiceSpec",
    "TaskSpec",
    "NetworkSpec",
    "ClusterSpec",
    "SecretSpec",
    "ConfigSpec",
    "VolumeSpec",
    "NodeDescription",
];

// Cargo tells a build script in its environment where to write; the ban is for the core itself.
#[allow(clippy::disallowed_methods)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let all: Vec<String> = TYPES.iter().chain(OBJECTS).chain(MESSAGES).map(|name| path(name)).collect();
    let descriptors = protox::compile(&all, ["proto"])?;

    let mut known_tags = String::new();
    for layer in ["types", "networks", "objects", "messages"] {
        let files = match layer {
            "types" => TYPES,
            "networks" | "objects" => OBJECTS,
            _ => MESSAGES,
        };
        let mut config = prost_build::Config::new();
        config.bytes(["."]);
        config.btree_map(["."]);
        let directory = out.join(layer);
        std::fs::create_dir_all(&directory)?;
        config.out_dir(&directory);
        for file in &descriptors.file {
            let Some(name) = file.name.as_deref().and_then(|name| name.strip_prefix("docker/swarmkit/v1/")) else {
                continue;
            };
            if files.contains(&name) {
                continue;
            }
            let home = if TYPES.contains(&name) { "types" } else { "objects" };
            for message in &file.message_type {
                extern_message(&mut config, layer, home, PACKAGE, "", message);
            }
            for value in &file.enum_type {
                let name = value.name.clone().unwrap_or_default();
                config.extern_path(format!("{PACKAGE}.{name}"), format!("crate::pb::{home}::{name}"));
            }
        }
        let mut set = descriptors.clone();
        for file in &mut set.file {
            file.service.clear();
            if layer == "networks" && file.name.as_deref() == Some(&path("objects.proto")) {
                file.message_type.retain(|message| NETWORKS.contains(&message.name()));
            }
        }
        if layer == "objects" {
            config.extern_path(format!("{PACKAGE}.Network"), "crate::shared::Shared<crate::pb::networks::Network>");
            config.extern_path(format!("{PACKAGE}.Meta"), "crate::pb::networks::Meta");
        }
        let upper: Vec<String> = match layer {
            "types" => OBJECTS.iter().chain(MESSAGES).map(|name| path(name)).collect(),
            "networks" | "objects" => MESSAGES.iter().map(|name| path(name)).collect(),
            _ => Vec::new(),
        };
        set.file.retain(|file| file.name.as_ref().is_some_and(|name| !upper.contains(name)));
        config.compile_fds(set)?;
        if layer == "objects" {
            for file in descriptors.file.iter().filter(|file| file.name.as_deref() == Some(&path("objects.proto"))) {
                for message in &file.message_type {
                    let tags: Vec<String> = message.field.iter().map(|field| field.number().to_string()).collect();
                    known_tags.push_str(&format!(
                        "impl crate::kept::KnownTags for crate::pb::objects::{} {{ const TAGS: &'static [u32] = &[{}]; }}\n",
                        message.name(),
                        tags.join(", ")
                    ));
                }
            }
        }
    }
    std::fs::write(out.join("known_tags.rs"), known_tags)?;

    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    config.compile_fds(protox::compile(["skep/v1/peer.proto"], ["proto"])?)?;
    Ok(())
}

fn path(name: &str) -> String {
    format!("docker/swarmkit/v1/{name}")
}

/// Points the reference to a message of a lower layer at the Rust type that stands for it.
fn extern_message(
    config: &mut prost_build::Config,
    layer: &str,
    home: &str,
    scope: &str,
    module: &str,
    message: &prost_types::DescriptorProto,
) {
    let name = message.name.clone().unwrap_or_default();
    let rust = format!("crate::pb::{home}::{module}{name}");
    let wrapped = if module.is_empty() && home == "types" && VERBATIM.contains(&name.as_str()) && layer != "types" {
        format!("crate::verbatim::Verbatim<{rust}>")
    } else if module.is_empty() && home == "objects" && layer == "messages" && STORED.contains(&name.as_str()) {
        format!("crate::kept::Kept<{rust}>")
    } else {
        rust
    };
    let full = format!("{scope}.{name}");
    config.extern_path(full.clone(), wrapped);
    let inner = format!("{module}{}::", snake(&name));
    for nested in &message.nested_type {
        extern_message(config, layer, home, &full, &inner, nested);
    }
    for value in &message.enum_type {
        let value_name = value.name.clone().unwrap_or_default();
        config.extern_path(format!("{full}.{value_name}"), format!("crate::pb::{home}::{inner}{value_name}"));
    }
}

/// Objects that live in the store and travel in log entries and snapshots.
const STORED: &[&str] =
    &["Node", "Service", "Task", "Network", "Cluster", "Secret", "Config", "Resource", "Extension", "Volume"];

fn snake(name: &str) -> String {
    let mut out = String::new();
    let letters: Vec<char> = name.chars().collect();
    for (index, letter) in letters.iter().enumerate() {
        let boundary = index > 0
            && letter.is_uppercase()
            && (letters[index - 1].is_lowercase() || letters.get(index + 1).is_some_and(|next| next.is_lowercase()));
        if boundary {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
