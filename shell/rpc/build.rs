//! Generates the service code alone: every message already exists in `skep-model`.

const FILES: &[&str] = &[
    "docker/swarmkit/v1/ca.proto",
    "docker/swarmkit/v1/control.proto",
    "docker/swarmkit/v1/dispatcher.proto",
    "docker/swarmkit/v1/health.proto",
    "docker/swarmkit/v1/logbroker.proto",
    "docker/swarmkit/v1/raft.proto",
    "docker/swarmkit/v1/resource.proto",
    "skep/v1/peer.proto",
];

const SCHEMA: &str = "../../core/model/proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={SCHEMA}");
    let mut descriptors = protox::compile(FILES, [SCHEMA])?;
    for file in &mut descriptors.file {
        file.message_type.clear();
        file.enum_type.clear();
    }
    descriptors.file.retain(|file| !file.service.is_empty());
    tonic_prost_build::configure()
        .extern_path(".docker.swarmkit.v1", "::skep_model::pb::messages")
        .extern_path(".skep.v1", "::skep_model::pb::skep")
        .compile_fds(descriptors)?;
    Ok(())
}
