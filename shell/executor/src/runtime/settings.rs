//! What a container was asked to be, kept in its record for whoever inspects it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skep_model::Task;
use skep_model::engine::{ContainerSettings, HealthCheck};
use skep_model::pb::types::{ContainerSpec, privileges};

use super::log_options;
use super::record::Probe;

/// As asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Settings {
    pub stop_signal: String,
    pub read_only: bool,
    pub init: Option<bool>,
    pub capability_add: Vec<String>,
    pub capability_drop: Vec<String>,
    pub security_options: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: Vec<(String, i64, i64)>,
    pub groups: Vec<String>,
    pub oom_score_adj: i64,
    pub memory_reservation_bytes: i64,
    pub memory_swap_bytes: i64,
    pub memory_swappiness: Option<i64>,
    pub nameservers: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    pub extra_hosts: Vec<String>,
    pub log_driver: String,
    pub log_options: BTreeMap<String, String>,
    pub apparmor_profile: String,
}

impl Settings {
    /// From the spec, its placeholders expanded; the stop signal is the image's where the spec has none.
    pub fn of(task: &Task, spec: &ContainerSpec, stop_signal: &str, apparmor_profile: &str) -> Self {
        let resources = task.spec.resources.clone().unwrap_or_default();
        let limit = resources.limits.map_or(0, |limits| limits.memory_bytes);
        let dns = spec.dns_config.clone().unwrap_or_default();
        let log = log_options::driver(task).cloned().unwrap_or_default();
        let ulimits = spec.ulimits.iter().map(|limit| (limit.name.clone(), limit.soft, limit.hard));
        Self {
            stop_signal: stop_signal.to_owned(),
            read_only: spec.read_only,
            init: spec.init,
            capability_add: spec.capability_add.clone(),
            capability_drop: spec.capability_drop.clone(),
            security_options: security_options(spec),
            sysctls: spec.sysctls.clone(),
            ulimits: ulimits.collect(),
            groups: spec.groups.clone(),
            oom_score_adj: spec.oom_score_adj,
            memory_reservation_bytes: resources.reservations.map_or(0, |reserved| reserved.memory_bytes),
            memory_swap_bytes: match resources.swap_bytes {
                Some(-1) => -1,
                Some(swap) if limit > 0 => limit.saturating_add(swap),
                None if limit > 0 => limit.saturating_mul(2),
                _ => 0,
            },
            memory_swappiness: resources.memory_swappiness.filter(|value| *value >= 0),
            nameservers: dns.nameservers,
            dns_search: dns.search,
            dns_options: dns.options,
            extra_hosts: spec.hosts.iter().flat_map(|line| extra_hosts(line)).collect(),
            log_driver: if log.name.is_empty() { "json-file".to_owned() } else { log.name },
            log_options: log.options,
            apparmor_profile: apparmor_profile.to_owned(),
        }
    }

    /// For the HTTP API.
    pub fn show(&self, stop_grace: Duration, probe: Option<&Probe>) -> ContainerSettings {
        let this = self.clone();
        ContainerSettings {
            stop_signal: this.stop_signal,
            stop_grace,
            healthcheck: probe.map(shown_probe),
            read_only: this.read_only,
            init: this.init,
            capability_add: this.capability_add,
            capability_drop: this.capability_drop,
            security_options: this.security_options,
            sysctls: this.sysctls,
            ulimits: this.ulimits,
            groups: this.groups,
            oom_score_adj: this.oom_score_adj,
            memory_reservation_bytes: this.memory_reservation_bytes,
            memory_swap_bytes: this.memory_swap_bytes,
            memory_swappiness: this.memory_swappiness,
            nameservers: this.nameservers,
            dns_search: this.dns_search,
            dns_options: this.dns_options,
            extra_hosts: this.extra_hosts,
            log_driver: if this.log_driver.is_empty() { "json-file".to_owned() } else { this.log_driver },
            log_options: this.log_options,
            apparmor_profile: this.apparmor_profile,
        }
    }
}

fn shown_probe(probe: &Probe) -> HealthCheck {
    let mut test = vec!["CMD".to_owned()];
    test.extend(probe.command.iter().cloned());
    HealthCheck {
        test,
        interval: probe.interval,
        timeout: probe.timeout,
        start_period: probe.start_period,
        start_interval: probe.start_interval,
        retries: probe.retries,
    }
}

/// As `docker run --security-opt` spells them.
fn security_options(spec: &ContainerSpec) -> Vec<String> {
    let given = spec.privileges.clone().unwrap_or_default();
    let mut options = Vec::new();
    if given.no_new_privileges {
        options.push("no-new-privileges=true".to_owned());
    }
    match given.seccomp.as_ref().map(|seccomp| seccomp.mode()) {
        Some(privileges::seccomp_opts::SeccompMode::Unconfined) => options.push("seccomp=unconfined".to_owned()),
        Some(privileges::seccomp_opts::SeccompMode::Custom) => {
            let profile = given.seccomp.unwrap_or_default().profile;
            options.push(format!("seccomp={}", String::from_utf8_lossy(&profile)));
        }
        Some(privileges::seccomp_opts::SeccompMode::Default) | None => {}
    }
    if crate::apparmor::is_disabled(spec) {
        options.push("apparmor=unconfined".to_owned());
    }
    options
}

/// A line of `/etc/hosts` as Docker shows it: `name:address`, one for each name.
fn extra_hosts(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace();
    let address = words.next().unwrap_or_default();
    words.map(|name| format!("{name}:{address}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_model::pb::types::Privileges;

    #[test]
    fn options_are_spelled_as_docker_does() {
        let seccomp = privileges::SeccompOpts { mode: 1, ..Default::default() };
        let privileges = Privileges { no_new_privileges: true, seccomp: Some(seccomp), ..Default::default() };
        let spec = ContainerSpec { privileges: Some(privileges), ..Default::default() };
        assert_eq!(security_options(&spec), ["no-new-privileges=true", "seccomp=unconfined"]);
        assert_eq!(extra_hosts("10.0.0.1 one two"), ["one:10.0.0.1", "two:10.0.0.1"]);
    }
}
