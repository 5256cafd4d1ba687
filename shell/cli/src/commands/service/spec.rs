//! The shared flags, written into a service's spec.

use super::flags::ServiceFlags;
use crate::arguments::{GoDuration, pairs};
use crate::failure::Failure;
use crate::value::Value;

const CONTAINER: &str = "TaskTemplate.ContainerSpec";
/// What docker puts into a rollout's settings when only one of them is given.
const DEFAULT_MONITOR: GoDuration = GoDuration(5_000_000_000);

/// Writes what was given.
pub fn apply(spec: &mut Value, flags: &ServiceFlags) -> Result<(), Failure> {
    container(spec, flags)?;
    resources(spec, flags);
    restart(spec, flags);
    mode(spec, flags)?;
    rollout(spec, &update_settings(flags));
    rollout(spec, &rollback_settings(flags));
    if let Some(mode) = &flags.endpoint_mode {
        spec.set("EndpointSpec.Mode", mode.as_str());
    }
    if let Some(driver) = &flags.log_driver {
        spec.set("TaskTemplate.LogDriver.Name", driver.as_str());
        spec.set("TaskTemplate.LogDriver.Options", pairs(&flags.log_opt));
    } else if !flags.log_opt.is_empty() && spec.has("TaskTemplate.LogDriver") {
        spec.set("TaskTemplate.LogDriver.Options", pairs(&flags.log_opt));
    }
    Ok(())
}

fn set<T: Into<Value>>(spec: &mut Value, path: &str, value: Option<T>) {
    if let Some(value) = value {
        spec.set(path, value);
    }
}

fn container(spec: &mut Value, flags: &ServiceFlags) -> Result<(), Failure> {
    if flags.credential_spec.is_some() {
        return Err(Failure::new("--credential-spec is for Windows containers, which Skep does not run"));
    }
    let at = |member: &str| format!("{CONTAINER}.{member}");
    set(spec, &at("Hostname"), flags.hostname.clone());
    set(spec, &at("Dir"), flags.workdir.clone());
    set(spec, &at("User"), flags.user.clone());
    set(spec, &at("TTY"), flags.tty);
    set(spec, &at("ReadOnly"), flags.read_only);
    set(spec, &at("StopSignal"), flags.stop_signal.clone());
    set(spec, &at("StopGracePeriod"), flags.stop_grace_period);
    set(spec, &at("Init"), flags.init);
    set(spec, &at("Isolation"), flags.isolation.clone());
    set(spec, &at("OomScoreAdj"), flags.oom_score_adj);
    if let Some(entrypoint) = &flags.entrypoint {
        spec.set(&at("Command"), words(entrypoint)?);
    }
    capabilities(spec, flags);
    healthcheck(spec, flags)
}

/// Names as the kernel has them; what is both added and dropped is added.
fn capabilities(spec: &mut Value, flags: &ServiceFlags) {
    if flags.cap_add.is_empty() && flags.cap_drop.is_empty() {
        return;
    }
    let (add, drop) = (format!("{CONTAINER}.CapabilityAdd"), format!("{CONTAINER}.CapabilityDrop"));
    let owned = |value: &Value, path: &str| value.texts(path).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let (mut added, mut dropped) = (owned(spec, &add), owned(spec, &drop));
    for name in flags.cap_add.iter().map(|name| capability(name)) {
        dropped.retain(|known| *known != name);
        added.push(name);
    }
    for name in flags.cap_drop.iter().map(|name| capability(name)) {
        let added_now = flags.cap_add.iter().any(|given| capability(given) == name);
        if !added_now {
            added.retain(|known| *known != name);
            dropped.push(name);
        }
    }
    for (path, mut names) in [(add, added), (drop, dropped)] {
        names.sort();
        names.dedup();
        spec.set(&path, if names.is_empty() { Value::Null } else { Value::from(names) });
    }
}

fn capability(name: &str) -> String {
    let upper = name.to_uppercase();
    if upper == "ALL" || upper == "RESET" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

fn healthcheck(spec: &mut Value, flags: &ServiceFlags) -> Result<(), Failure> {
    let settings = [
        ("Interval", flags.health_interval.map(Value::from)),
        ("Timeout", flags.health_timeout.map(Value::from)),
        ("StartPeriod", flags.health_start_period.map(Value::from)),
        ("StartInterval", flags.health_start_interval.map(Value::from)),
        ("Retries", flags.health_retries.map(Value::from)),
    ];
    let any = flags.health_cmd.is_some() || settings.iter().any(|(_, value)| value.is_some());
    let path = format!("{CONTAINER}.Healthcheck");
    if flags.no_healthcheck {
        if any {
            return Err(Failure::new("--no-healthcheck conflicts with --health-* options"));
        }
        spec.set(&path, Value::map([("Test", Value::from(vec!["NONE"]))]));
        return Ok(());
    }
    if any && spec.texts(&format!("{path}.Test")).first() == Some(&"NONE") {
        spec.set(&path, Value::empty_map());
    }
    if let Some(command) = flags.health_cmd.as_deref().filter(|command| !command.is_empty()) {
        spec.set(&format!("{path}.Test"), vec!["CMD-SHELL", command]);
    }
    for (member, value) in settings {
        set(spec, &format!("{path}.{member}"), value);
    }
    Ok(())
}

fn resources(spec: &mut Value, flags: &ServiceFlags) {
    let (limits, reservations) = ("TaskTemplate.Resources.Limits", "TaskTemplate.Resources.Reservations");
    set(spec, &format!("{limits}.NanoCPUs"), flags.limit_cpu.map(|cpus| cpus.0));
    set(spec, &format!("{limits}.MemoryBytes"), flags.limit_memory.map(|memory| memory.0));
    set(spec, &format!("{limits}.Pids"), flags.limit_pids);
    set(spec, &format!("{reservations}.NanoCPUs"), flags.reserve_cpu.map(|cpus| cpus.0));
    set(spec, &format!("{reservations}.MemoryBytes"), flags.reserve_memory.map(|memory| memory.0));
}

fn restart(spec: &mut Value, flags: &ServiceFlags) {
    let given = flags.restart_condition.is_some()
        || flags.restart_delay.is_some()
        || flags.restart_max_attempts.is_some()
        || flags.restart_window.is_some();
    if !given {
        return;
    }
    let path = "TaskTemplate.RestartPolicy";
    if !spec.has(path) {
        // Docker fills in the defaults of what is not given, so that they stay if the daemon's change.
        *spec.place(path) = Value::map([
            ("Condition", Value::from("any")),
            ("Delay", Value::from(5_000_000_000_i64)),
            ("MaxAttempts", Value::from(0_u64)),
            ("Window", Value::from(0_i64)),
        ]);
    }
    set(spec, &format!("{path}.Condition"), flags.restart_condition.clone());
    set(spec, &format!("{path}.Delay"), flags.restart_delay);
    set(spec, &format!("{path}.MaxAttempts"), flags.restart_max_attempts);
    set(spec, &format!("{path}.Window"), flags.restart_window);
}

fn mode(spec: &mut Value, flags: &ServiceFlags) -> Result<(), Failure> {
    let jobs = spec.has("Mode.ReplicatedJob");
    if let Some(replicas) = flags.replicas {
        let path = match jobs {
            true => "Mode.ReplicatedJob.TotalCompletions",
            false if spec.has("Mode.Replicated") => "Mode.Replicated.Replicas",
            false => return Err(Failure::new("replicas can only be used with replicated or replicated-job mode")),
        };
        spec.set(path, replicas);
    }
    if let Some(concurrent) = flags.max_concurrent {
        if !jobs {
            return Err(Failure::new("max-concurrent can only be used with replicated-job mode"));
        }
        spec.set("Mode.ReplicatedJob.MaxConcurrent", concurrent);
    }
    if let Some(count) = flags.replicas_max_per_node {
        let global = spec.has("Mode.Global") || spec.has("Mode.GlobalJob");
        if global && count > 0 {
            return Err(Failure::new("replicas-max-per-node can only be used with replicated or replicated-job mode"));
        }
        spec.set("TaskTemplate.Placement.MaxReplicas", count);
    }
    Ok(())
}

/// How an update or a rollback goes about it.
struct Rollout<'a> {
    path: &'static str,
    parallelism: Option<u64>,
    delay: Option<GoDuration>,
    monitor: Option<GoDuration>,
    failure_action: Option<&'a String>,
    max_failure_ratio: Option<f64>,
    order: Option<&'a String>,
}

fn update_settings(flags: &ServiceFlags) -> Rollout<'_> {
    Rollout {
        path: "UpdateConfig",
        parallelism: flags.update_parallelism,
        delay: flags.update_delay,
        monitor: flags.update_monitor,
        failure_action: flags.update_failure_action.as_ref(),
        max_failure_ratio: flags.update_max_failure_ratio,
        order: flags.update_order.as_ref(),
    }
}

fn rollback_settings(flags: &ServiceFlags) -> Rollout<'_> {
    Rollout {
        path: "RollbackConfig",
        parallelism: flags.rollback_parallelism,
        delay: flags.rollback_delay,
        monitor: flags.rollback_monitor,
        failure_action: flags.rollback_failure_action.as_ref(),
        max_failure_ratio: flags.rollback_max_failure_ratio,
        order: flags.rollback_order.as_ref(),
    }
}

fn rollout(spec: &mut Value, rollout: &Rollout<'_>) {
    let given = rollout.parallelism.is_some()
        || rollout.delay.is_some()
        || rollout.monitor.is_some()
        || rollout.failure_action.is_some()
        || rollout.max_failure_ratio.is_some()
        || rollout.order.is_some();
    if !given {
        return;
    }
    if !spec.has(rollout.path) {
        *spec.place(rollout.path) = Value::map([
            ("Parallelism", Value::from(1_u64)),
            ("FailureAction", Value::from("pause")),
            ("Monitor", Value::from(DEFAULT_MONITOR)),
            ("MaxFailureRatio", Value::from(0_u64)),
            ("Order", Value::from("stop-first")),
        ]);
    }
    let at = |member: &str| format!("{}.{member}", rollout.path);
    set(spec, &at("Parallelism"), rollout.parallelism);
    set(spec, &at("Delay"), rollout.delay);
    set(spec, &at("Monitor"), rollout.monitor);
    set(spec, &at("FailureAction"), rollout.failure_action.cloned());
    set(spec, &at("MaxFailureRatio"), rollout.max_failure_ratio);
    set(spec, &at("Order"), rollout.order.cloned());
}

/// A command line's words, with quotes and backslashes as a shell has them.
pub fn words(text: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some(open), close) if open == close => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    if quote.is_some() {
        return Err(Failure::new("EOF found when expecting closing quote"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn splits_as_a_shell() {
        assert_eq!(words(r#"sh -c "echo 'a b' \"c\"" d\ e"#).unwrap(), ["sh", "-c", r#"echo 'a b' "c""#, "d e"]);
        assert!(words("'open").is_err());
    }
}
