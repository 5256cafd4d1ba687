//! What older clients may not say of a service: their fields of later API versions are dropped (interop §9.3).

use crate::json::ServiceSpec;
use crate::version::ApiVersion;

/// Adjusts a spec that a client of `version` sent.
pub(crate) fn adjust(spec: &mut ServiceSpec<'_>, version: ApiVersion) {
    let before = |minor: u32| version.0 < minor;
    let task = &mut spec.task_template;
    let container = &mut task.container_spec;
    if let Some(resources) = &mut task.resources {
        if before(52) {
            resources.swap_bytes = None;
            resources.memory_swappiness = None;
        }
        if let Some(limits) = resources.limits.as_mut().filter(|_| before(41)) {
            limits.pids = 0;
        }
    }
    if let Some(placement) = task.placement.as_mut().filter(|_| before(40)) {
        placement.max_replicas = 0;
    }
    if let Some(container) = container {
        if before(46) {
            container.oom_score_adj = 0;
            for options in container.mounts.iter_mut().filter_map(|mount| mount.tmpfs_options.as_mut()) {
                options.options = None;
            }
        }
        if before(44) {
            if let Some(privileges) = &mut container.privileges {
                privileges.seccomp = None;
                privileges.apparmor = None;
                privileges.no_new_privileges = false;
            }
            if let Some(check) = &mut container.healthcheck {
                check.start_interval = 0;
            }
        }
        if before(41) {
            container.capability_add = Default::default();
            container.capability_drop = Default::default();
            container.ulimits.clear();
        }
        if before(40) {
            container.sysctls = Default::default();
            if let Some(spec) = container.privileges.as_mut().and_then(|privileges| privileges.credential_spec.as_mut())
            {
                spec.config = Default::default();
            }
            for config in &mut container.configs {
                config.runtime = None;
            }
        }
    }
    if before(41) {
        spec.mode.replicated_job = None;
        spec.mode.global_job = None;
    }
    let legacy = std::mem::take(&mut spec.networks);
    if before(44) && spec.task_template.networks.is_empty() {
        spec.task_template.networks = legacy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a","CapabilityAdd":["X"],"OomScoreAdj":5,
        "Sysctls":{"a":"b"},"Privileges":{"NoNewPrivileges":true,"Seccomp":{"Mode":"unconfined"}},
        "Healthcheck":{"StartInterval":9}},"Resources":{"Limits":{"Pids":7},"SwapBytes":1},
        "Placement":{"MaxReplicas":3}},"Mode":{"GlobalJob":{}},"Networks":[{"Target":"old"}]}"#;

    #[test]
    fn each_version_drops_what_came_later() {
        let at = |minor| {
            let mut spec: ServiceSpec = serde_json::from_str(NEW).unwrap();
            adjust(&mut spec, ApiVersion(minor));
            serde_json::to_string(&spec).unwrap()
        };
        let has = |minor: u32, text: &str| at(minor).contains(text);
        for (text, since) in [
            ("SwapBytes", 52),
            ("OomScoreAdj", 46),
            ("\"Seccomp\"", 44),
            ("StartInterval", 44),
            ("CapabilityAdd", 41),
            ("Pids", 41),
            ("GlobalJob", 41),
            ("Sysctls", 40),
            ("MaxReplicas", 40),
        ] {
            assert!(has(since, text), "{text} must be kept at 1.{since}");
            assert!(!has(since - 1, text), "{text} must be dropped before 1.{since}");
        }
        assert!(has(43, "\"old\"") && !has(44, "\"old\""));
    }
}
