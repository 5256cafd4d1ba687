//! What a spec may ask that this runtime does not do.

use skep_model::pb::types::{ContainerSpec, TaskSpec, container_spec, privileges, task_spec};
use skep_model::{Code, Refusal};

/// The container's spec, unless something in it (or beside it) cannot be carried out.
pub fn check(spec: &TaskSpec) -> Result<&ContainerSpec, Refusal> {
    let container = match &spec.runtime {
        Some(task_spec::Runtime::Container(container)) => container,
        Some(task_spec::Runtime::Attachment(_)) => return Err(no("network attachments of unmanaged containers")),
        Some(task_spec::Runtime::Generic(_)) => return Err(no("plugins and other generic runtimes")),
        None => return Err(Refusal::invalid("TaskSpec: missing runtime")),
    };
    if container.image.is_empty() {
        return Err(Refusal::invalid("ContainerSpec: image reference must be provided"));
    }
    if container.isolation() == container_spec::Isolation::Hyperv {
        return Err(no("Hyper-V isolation"));
    }
    if let Some(driver) = &spec.log_driver {
        log_driver(&driver.name)?;
    }
    if let Some(privileges) = &container.privileges {
        if privileges.credential_spec.is_some() {
            return Err(no("credential specs"));
        }
        let selinux = privileges.selinux_context.as_ref();
        if selinux.is_some_and(|context| {
            [&context.user, &context.role, &context.r#type, &context.level].iter().any(|part| !part.is_empty())
        }) {
            return Err(no("SELinux contexts"));
        }
        let seccomp = privileges.seccomp.as_ref().map(|options| options.mode());
        if seccomp == Some(privileges::seccomp_opts::SeccompMode::Custom) {
            return Err(no("seccomp profiles of your own (use the default or unconfined)"));
        }
    }
    if container.secrets.iter().any(|secret| secret.target.is_none()) {
        return Err(Refusal::invalid("malformed secret reference, no target provided"));
    }
    Ok(container)
}

/// `json-file` is what we write; `none` writes nothing.
fn log_driver(name: &str) -> Result<(), Refusal> {
    match name {
        "" | "json-file" | "none" => Ok(()),
        other => Err(no(&format!("the log driver {other:?} (there are json-file and none)"))),
    }
}

fn no(what: &str) -> Refusal {
    Refusal::new(Code::Unimplemented, format!("the embedded runtime does not carry {what}"))
}
