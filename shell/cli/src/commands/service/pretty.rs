//! `service inspect --pretty`.

use crate::human::{binary_size, duration, go_duration, parse_time, seconds_since, significant};
use crate::value::Value;

/// The page of one service.
pub fn page(service: &Value, networks: &[String]) -> String {
    let mut page = Page(String::from("\n"));
    let spec = service.at("Spec");
    page.line(format!("ID:\t\t{}", service.text("ID")));
    page.line(format!("Name:\t\t{}", spec.text("Name")));
    page.members("Labels:", spec.entries("Labels"), "=");
    mode(&mut page, spec);
    update_status(&mut page, service);
    placement(&mut page, spec);
    rollout(&mut page, spec.at("UpdateConfig"), "UpdateConfig:", "Update order:      ");
    rollout(&mut page, spec.at("RollbackConfig"), "RollbackConfig:", "Rollback order:    ");
    container(&mut page, spec.at("TaskTemplate.ContainerSpec"));
    log_driver(&mut page, spec.at("TaskTemplate.LogDriver"));
    resources(&mut page, spec.at("TaskTemplate.Resources"));
    if !networks.is_empty() {
        page.line(format!("Networks: {} ", networks.join(" ")));
    }
    page.line(format!("Endpoint Mode:\t{}", spec.text("EndpointSpec.Mode")));
    let ports = service.list("Endpoint.Ports");
    if !ports.is_empty() {
        page.line("Ports:");
    }
    for (index, port) in ports.iter().enumerate() {
        page.line(format!(" PublishedPort = {}", port.uint("PublishedPort")));
        page.line(format!("  Protocol = {}", port.text("Protocol")));
        page.line(format!("  TargetPort = {}", port.uint("TargetPort")));
        let end = if index + 1 == ports.len() { " " } else { "" };
        page.line(format!("  PublishMode = {}{end}", port.text("PublishMode")));
    }
    healthcheck(&mut page, spec.at("TaskTemplate.ContainerSpec.Healthcheck"));
    page.0.push('\n');
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref());
        self.0.push('\n');
    }

    fn given(&mut self, title: &str, value: &str) {
        if !value.is_empty() {
            self.line(format!("{title}{value}"));
        }
    }

    /// A head and the members of an object, in order of their keys.
    fn members(&mut self, head: &str, members: &[(String, Value)], between: &str) {
        if members.is_empty() {
            return;
        }
        self.line(head);
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_by(|left, right| left.0.cmp(&right.0));
        for (key, value) in sorted {
            match value.as_text().unwrap_or("") {
                "" => self.line(format!(" {key}")),
                value => self.line(format!(" {key}{between}{value}")),
            }
        }
    }
}

fn mode(page: &mut Page, spec: &Value) {
    if spec.has("Mode.Global") {
        page.line("Service Mode:\tGlobal");
    } else if spec.has("Mode.Replicated") {
        page.line("Service Mode:\tReplicated");
        if spec.has("Mode.Replicated.Replicas") {
            page.line(format!(" Replicas:\t{}", spec.uint("Mode.Replicated.Replicas")));
        }
    } else {
        page.line("Service Mode:");
    }
}

fn update_status(page: &mut Page, service: &Value) {
    let status = service.at("UpdateStatus");
    if status.text("State").is_empty() {
        return;
    }
    let ago = |member: &str| format!("{} ago", duration(seconds_since(parse_time(status.text(member)))));
    page.line("UpdateStatus:");
    page.line(format!(" State:\t\t{}", status.text("State")));
    if status.has("StartedAt") {
        page.line(format!(" Started:\t{}", ago("StartedAt")));
    }
    if status.text("State") == "completed" && status.has("CompletedAt") {
        page.line(format!(" Completed:\t{}", ago("CompletedAt")));
    }
    page.line(format!(" Message:\t{}", status.text("Message")));
}

fn placement(page: &mut Page, spec: &Value) {
    let placement = spec.at("TaskTemplate.Placement");
    page.line("Placement:");
    let constraints = placement.texts("Constraints");
    if !constraints.is_empty() {
        page.line(format!(" Constraints:\t[{}]", constraints.join(" ")));
    }
    let preferences: Vec<String> = placement
        .list("Preferences")
        .iter()
        .filter(|preference| preference.has("Spread"))
        .map(|preference| format!("spread={}", preference.text("Spread.SpreadDescriptor")))
        .collect();
    if !preferences.is_empty() {
        page.line(format!(" Preferences:   [{}]", preferences.join(" ")));
    }
    if placement.uint("MaxReplicas") > 0 {
        page.line(format!(" Max Replicas Per Node:   {}", placement.uint("MaxReplicas")));
    }
}

fn rollout(page: &mut Page, config: &Value, head: &str, order: &str) {
    if !matches!(config, Value::Map(_)) {
        return;
    }
    page.line(head);
    page.line(format!(" Parallelism:\t{}", config.uint("Parallelism")));
    if config.int("Delay") > 0 {
        page.line(format!(" Delay:\t\t{}", go_duration(config.int("Delay"))));
    }
    page.line(format!(" On failure:\t{}", config.text("FailureAction")));
    if config.int("Monitor") > 0 {
        page.line(format!(" Monitoring Period: {}", go_duration(config.int("Monitor"))));
    }
    page.line(format!(" Max failure ratio: {}", config.float("MaxFailureRatio")));
    page.line(format!(" {order}{}", config.text("Order")));
}

fn container(page: &mut Page, container: &Value) {
    page.line("ContainerSpec:");
    page.line(format!(" Image:\t\t{}", container.text("Image")));
    for (title, member) in [(" Args:\t\t", "Args"), (" Env:\t\t", "Env")] {
        let words: String = container.texts(member).iter().map(|word| format!("{word} ")).collect();
        page.given(title, &words);
    }
    page.given(" Dir:\t\t", container.text("Dir"));
    if container.has("Init") {
        page.line(format!(" Init:\t\t{}", container.bool("Init")));
    }
    page.given(" User: ", container.text("User"));
    let (added, dropped) = (container.texts("CapabilityAdd").join(", "), container.texts("CapabilityDrop").join(", "));
    if !added.is_empty() || !dropped.is_empty() {
        page.line("Capabilities:");
        page.given(" Add: ", &added);
        page.given(" Drop: ", &dropped);
    }
    page.members("SysCtls:", container.entries("Sysctls"), ": ");
    let limit = |limit: &Value| {
        let pair = format!("{}:{}", limit.int("Soft"), limit.int("Hard"));
        (limit.text("Name").to_owned(), Value::from(pair))
    };
    let limits: Vec<(String, Value)> = container.list("Ulimits").iter().map(limit).collect();
    page.members("Ulimits:", &limits, ": ");
    if !container.list("Mounts").is_empty() {
        page.line("Mounts:");
    }
    for mount in container.list("Mounts") {
        page.line(format!(" Target:\t{}", mount.text("Target")));
        page.line(format!("  Source:\t{}", mount.text("Source")));
        page.line(format!("  ReadOnly:\t{}", mount.bool("ReadOnly")));
        page.line(format!("  Type:\t\t{}", mount.text("Type")));
    }
    for (head, member, name) in [("Configs:", "Configs", "ConfigName"), ("Secrets:", "Secrets", "SecretName")] {
        if !container.list(member).is_empty() {
            page.line(head);
        }
        for reference in container.list(member) {
            page.line(format!(" Target:\t{}", reference.text("File.Name")));
            page.line(format!("  Source:\t{}", reference.text(name)));
        }
    }
}

fn log_driver(page: &mut Page, driver: &Value) {
    if !matches!(driver, Value::Map(_)) {
        return;
    }
    page.line("Log Driver:");
    page.given(" Name:\t\t", driver.text("Name"));
    if !driver.entries("Options").is_empty() {
        page.line(" LogOpts:");
    }
    for (key, value) in driver.entries("Options") {
        page.line(format!("  {key}:       {}", value.as_text().unwrap_or("")));
    }
    page.line("");
}

fn resources(page: &mut Page, resources: &Value) {
    if !matches!(resources, Value::Map(_)) {
        return;
    }
    page.line("Resources:");
    for (head, member) in [(" Reservations:", "Reservations"), (" Limits:", "Limits")] {
        let part = resources.at(member);
        let (cpus, memory) = (part.int("NanoCPUs"), part.int("MemoryBytes"));
        if cpus == 0 && memory == 0 && part.int("Pids") == 0 {
            continue;
        }
        page.line(head);
        if cpus > 0 {
            page.line(format!("  CPU:\t\t{}", significant(cpus as f64 / 1e9, 10)));
        }
        if memory > 0 {
            page.line(format!("  Memory:\t{}", binary_size(memory as f64)));
        }
    }
    if resources.int("Limits.Pids") > 0 {
        page.line(format!("  PIDs:\t\t{}", resources.int("Limits.Pids")));
    }
}

fn healthcheck(page: &mut Page, check: &Value) {
    if !matches!(check, Value::Map(_)) {
        return;
    }
    page.line(" Healthcheck:");
    page.line(format!("  Interval = {}", go_duration(check.int("Interval"))));
    page.line(format!("  Retries = {}", check.int("Retries")));
    page.line(format!("  StartPeriod =\t{}", go_duration(check.int("StartPeriod"))));
    page.line(format!("  Timeout =\t{}", go_duration(check.int("Timeout"))));
    if !check.list("Test").is_empty() {
        page.line("  Tests:");
    }
    for test in check.texts("Test") {
        page.line(format!("\t Test = {test}"));
    }
}
