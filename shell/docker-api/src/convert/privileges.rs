//! Privileges of a container.

use skep_model::Refusal;
use skep_model::pb::types::{self, privileges as p};

use super::{text, words};
use crate::json;

/// Outwards.
pub(crate) fn out(value: &types::Privileges) -> json::Privileges<'_> {
    json::Privileges {
        credential_spec: value.credential_spec.as_ref().map(credential_spec_out),
        selinux_context: value.selinux_context.as_ref().map(|context| json::SeLinuxContext {
            disable: context.disable,
            user: text(&context.user),
            role: text(&context.role),
            kind: text(&context.r#type),
            level: text(&context.level),
        }),
        seccomp: value.seccomp.as_ref().map(|seccomp| json::SeccompOpts {
            mode: text(words::word(seccomp.mode())),
            profile: json::Base64(seccomp.profile.clone()),
        }),
        apparmor: value
            .apparmor
            .as_ref()
            .map(|apparmor| json::AppArmorOpts { mode: text(words::word(apparmor.mode())) }),
        no_new_privileges: value.no_new_privileges,
    }
}

/// Inwards.
pub(crate) fn into(value: json::Privileges<'_>) -> Result<types::Privileges, Refusal> {
    Ok(types::Privileges {
        credential_spec: value.credential_spec.map(credential_spec_in).transpose()?,
        selinux_context: value.selinux_context.map(|context| p::SeLinuxContext {
            disable: context.disable,
            user: context.user.into_owned(),
            role: context.role.into_owned(),
            r#type: context.kind.into_owned(),
            level: context.level.into_owned(),
        }),
        seccomp: value.seccomp.map(|seccomp| p::SeccompOpts {
            mode: words::parse(&seccomp.mode).unwrap_or(p::seccomp_opts::SeccompMode::Default).into(),
            profile: seccomp.profile.0,
        }),
        apparmor: value.apparmor.map(|apparmor| p::AppArmorOpts {
            mode: words::parse(&apparmor.mode).unwrap_or(p::app_armor_opts::AppArmorMode::Default).into(),
        }),
        no_new_privileges: value.no_new_privileges,
    })
}

fn credential_spec_out(value: &p::CredentialSpec) -> json::CredentialSpec<'_> {
    let mut out = json::CredentialSpec::default();
    match &value.source {
        Some(p::credential_spec::Source::File(file)) => out.file = text(file),
        Some(p::credential_spec::Source::Registry(registry)) => out.registry = text(registry),
        Some(p::credential_spec::Source::Config(config)) => out.config = text(config),
        None => {}
    }
    out
}

fn credential_spec_in(value: json::CredentialSpec<'_>) -> Result<p::CredentialSpec, Refusal> {
    let refuse = |why: &str| Err(Refusal::invalid(format!("invalid CredentialSpec: {why}")));
    let (config, file, registry) = (value.config.as_ref(), value.file.as_ref(), value.registry.as_ref());
    let source = match (config, file, registry) {
        ("", "", "") => return refuse("must either provide \"file\", \"registry\", or \"config\" for credential spec"),
        (config, "", "") => p::credential_spec::Source::Config(config.to_owned()),
        ("", file, "") => p::credential_spec::Source::File(file.to_owned()),
        ("", "", registry) => p::credential_spec::Source::Registry(registry.to_owned()),
        (_, _, "") => return refuse("cannot specify both \"config\" and \"file\" credential specs"),
        (_, "", _) => return refuse("cannot specify both \"config\" and \"registry\" credential specs"),
        ("", _, _) => return refuse("cannot specify both \"file\" and \"registry\" credential specs"),
        _ => return refuse("cannot specify both \"config\", \"file\", and \"registry\" credential specs"),
    };
    Ok(p::CredentialSpec { source: Some(source) })
}
