//! What a spec can be warned of though it is taken.

use std::time::Duration;

use crate::defaults;
use crate::pb::types::port_config::{Protocol, PublishMode};
use crate::pb::types::service_spec::Mode;
use crate::pb::types::task_spec::Runtime;
use crate::pb::types::{EndpointSpec, HealthConfig, PortConfig, ServiceSpec};
use crate::time::duration;

/// Docker's interval between two probes.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
/// Docker's count of failed probes that make a container unhealthy.
const HEALTH_RETRIES: u32 = 3;

/// An update watches its new tasks for less time than their health check needs to notice a failure: it would be called
/// completed before anything could be seen. `None` where that is not so, or nothing is updated task by task.
pub fn monitor(spec: &ServiceSpec) -> Option<String> {
    if !matches!(spec.mode, Some(Mode::Replicated(_) | Mode::Global(_))) {
        return None;
    }
    let Some(Runtime::Container(container)) = spec.task.as_ref().and_then(|task| task.runtime.as_ref()) else {
        return None;
    };
    let needed = time_to_notice(container.healthcheck.as_ref()?)?;
    let given = spec.update.as_ref().and_then(|update| update.monitor.as_ref());
    let monitor = given.map_or(defaults::UPDATE_MONITOR, duration);
    let said = if given.is_some() { "is" } else { "is by default" };
    (monitor < needed).then(|| {
        format!(
            "the update monitor {said} {monitor:?}, but the health check needs {needed:?} (retries x interval) to notice \
             that a running task fails: an update may complete before it does; set --update-monitor to at least \
             {needed:?}"
        )
    })
}

/// Ports of the routing mesh that `before` did not publish: where they answer as long as Skep nodes do not pass
/// connections on. `None` without any.
pub fn mesh(spec: &ServiceSpec, before: Option<&EndpointSpec>) -> Option<String> {
    let known = |port: &PortConfig| before.is_some_and(|before| before.ports.contains(port));
    let ports = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let fresh = ports.filter(|port| port.publish_mode() == PublishMode::Ingress && !known(port));
    let named: Vec<String> = fresh.map(mesh_port).collect();
    (!named.is_empty()).then(|| {
        format!(
            "published on the routing mesh: {}: a Skep node answers there while it runs a task of the service, and does \
             not pass connections on to other nodes yet",
            named.join(", ")
        )
    })
}

fn mesh_port(port: &PortConfig) -> String {
    let protocol = match port.protocol() {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    match port.published_port {
        0 => format!("any port for {}/{protocol}", port.target_port),
        published => format!("port {published}/{protocol}"),
    }
}

/// From the first failed probe of a container that was healthy: so many in a row, an interval apart.
fn time_to_notice(check: &HealthConfig) -> Option<Duration> {
    if check.test.first().is_some_and(|word| word == "NONE") {
        return None;
    }
    let interval = check.interval.as_ref().map(duration).filter(|interval| !interval.is_zero());
    let retries = u32::try_from(check.retries).ok().filter(|retries| *retries > 0);
    Some(interval.unwrap_or(HEALTH_INTERVAL).saturating_mul(retries.unwrap_or(HEALTH_RETRIES)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::types::{ContainerSpec, ReplicatedJob, ReplicatedService, TaskSpec, UpdateConfig};
    use crate::time::proto_duration;

    fn spec(check: Option<HealthConfig>, monitor: Option<u64>) -> ServiceSpec {
        let container = ContainerSpec { healthcheck: check, ..Default::default() };
        let update = monitor.map(|seconds| UpdateConfig {
            monitor: Some(proto_duration(Duration::from_secs(seconds))),
            ..Default::default()
        });
        ServiceSpec {
            task: Some(TaskSpec { runtime: Some(Runtime::Container(container)), ..Default::default() }),
            mode: Some(Mode::Replicated(ReplicatedService { replicas: 1 })),
            update,
            ..Default::default()
        }
    }

    fn check(interval_seconds: u64, retries: i32) -> Option<HealthConfig> {
        let interval = Some(proto_duration(Duration::from_secs(interval_seconds)));
        Some(HealthConfig { test: vec!["CMD".into(), "true".into()], interval, retries, ..Default::default() })
    }

    #[test]
    fn warns_of_a_monitor_that_is_too_short_to_see_anything() {
        let none = Some(HealthConfig { test: vec!["NONE".into()], ..Default::default() });
        for (check, seconds, warned) in [
            (None, Some(1), None),
            (none, Some(1), None),
            (check(2, 3), Some(6), None),
            (check(2, 3), Some(5), Some("is 5s, but the health check needs 6s")),
            (check(0, 0), Some(60), Some("is 60s, but the health check needs 90s")),
            (check(10, 1), None, Some("is by default 5s, but the health check needs 10s")),
            (check(1, 3), None, None),
        ] {
            let said = monitor(&spec(check.clone(), seconds));
            match (&said, warned) {
                (Some(said), Some(warned)) => assert!(said.contains(warned), "{said}"),
                (said, warned) => assert_eq!(said.is_some(), warned.is_some(), "{check:?} {seconds:?}: {said:?}"),
            }
        }
        let job = Some(Mode::ReplicatedJob(ReplicatedJob { max_concurrent: 1, total_completions: 1 }));
        assert_eq!(monitor(&ServiceSpec { mode: job, ..spec(check(10, 1), None) }), None);
    }
    #[test]
    fn says_where_ports_of_the_mesh_answer() {
        let port = |mode: PublishMode, published_port| PortConfig {
            publish_mode: mode.into(),
            published_port,
            target_port: 80,
            ..Default::default()
        };
        let endpoint = |ports| Some(EndpointSpec { ports, ..Default::default() });
        let web = |ports| ServiceSpec { endpoint: endpoint(ports), ..spec(None, None) };
        assert_eq!(mesh(&web(vec![port(PublishMode::Host, 80)]), None), None);
        let both = web(vec![port(PublishMode::Ingress, 8080), port(PublishMode::Ingress, 0)]);
        let said = mesh(&both, None).expect("a warning");
        assert!(
            said.starts_with("published on the routing mesh: port 8080/tcp, any port for 80/tcp: a Skep"),
            "{said}"
        );
        let before = endpoint(vec![port(PublishMode::Ingress, 8080)]);
        let said = mesh(&both, before.as_ref()).expect("a warning of what is new");
        assert!(said.starts_with("published on the routing mesh: any port for 80/tcp: a Skep"), "{said}");
        assert_eq!(mesh(&both, both.endpoint.as_ref()), None, "a scaled service is not warned of again");
    }
}
