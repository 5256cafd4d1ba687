use skep_model::pb::messages as m;
use skep_model::pb::messages::update_service_request::Rollback;
use skep_model::pb::types as t;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::{Code, Service, TaskState, Verbatim};

use crate::Read;
use crate::fixture::{NOW, Swarm, annotations, id, service, service_id, service_spec, task};

fn create(spec: t::ServiceSpec) -> m::CreateServiceRequest {
    m::CreateServiceRequest { spec: Some(Verbatim::new(spec)) }
}

fn update(swarm: &Swarm, name: &str, spec: t::ServiceSpec) -> m::UpdateServiceRequest {
    m::UpdateServiceRequest {
        service_id: swarm.ledger.committed().service_by_name(name).unwrap().id.to_string(),
        service_version: swarm.version_of_service(name),
        spec: Some(Verbatim::new(spec)),
        rollback: 0,
    }
}

fn with_container(spec: &mut t::ServiceSpec, change: impl FnOnce(&mut t::ContainerSpec)) {
    match &mut spec.task.as_mut().unwrap().runtime {
        Some(Runtime::Container(container)) => change(container),
        other => panic!("{other:?}"),
    }
}

fn port(mode: t::port_config::PublishMode, published_port: u32) -> t::PortConfig {
    t::PortConfig { publish_mode: mode.into(), published_port, target_port: 80, ..Default::default() }
}

fn publishing(name: &str, ports: Vec<t::PortConfig>) -> t::ServiceSpec {
    t::ServiceSpec { endpoint: Some(t::EndpointSpec { ports, ..Default::default() }), ..service_spec(name) }
}

#[track_caller]
fn refused(change: impl FnOnce(&mut t::ServiceSpec), code: Code, message: &str) {
    let mut spec = service_spec("web");
    change(&mut spec);
    let refusal = Swarm::new().ask(create(spec)).unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (code, message));
}

#[test]
fn a_service_is_created_with_stamps_and_version_and_its_spec_kept() {
    let mut swarm = Swarm::new();
    let spec = Verbatim::new(service_spec("web"));
    let made = swarm.ask(m::CreateServiceRequest { spec: Some(spec.clone()) }).unwrap().service.unwrap().value;
    let stored = swarm.ledger.committed().service_by_name("WEB").unwrap();
    assert_eq!(stored.id.as_str(), made.id);
    assert_eq!(stored.spec, spec);
    assert_eq!(stored.meta.version, 10);
    assert_eq!(stored.meta.created_at, Some(NOW.wall));
    assert_eq!(stored.spec_version, Some(0));
    assert_eq!(made.meta.unwrap().version.unwrap().index, 10);

    let twice = swarm.ask(create(service_spec("Web"))).unwrap_err();
    assert_eq!(twice.code, Code::AlreadyExists);
    assert_eq!(twice.message, "name conflicts with an existing object: service Web already exists");
    assert_eq!(swarm.ask(m::CreateServiceRequest { spec: None }).unwrap_err().message, "invalid argument");
}

#[test]
fn placeholders_are_tried_before_a_spec_is_stored() {
    let with = |env: &str| {
        let mut spec = service_spec("web");
        with_container(&mut spec, |container| container.env = vec![env.to_owned()]);
        spec.annotations.as_mut().unwrap().labels.insert("tier".to_owned(), "front".to_owned());
        Swarm::new().ask(create(spec)).map(|made| made.service.unwrap().value.spec.unwrap())
    };
    let kept = with("A={{.Service.Labels.tier}}").unwrap();
    let Some(Runtime::Container(container)) = kept.task.clone().unwrap().runtime else { panic!("{kept:?}") };
    assert_eq!(container.env, ["A={{.Service.Labels.tier}}"], "expanded on the node alone");
    let refusal = with("A={{.Service.Labels.none}}").unwrap_err();
    assert_eq!(refusal.code, Code::InvalidArgument);
    let message = "expanding env \"A={{.Service.Labels.none}}\": template: map has no entry for key \"none\"";
    assert_eq!(refusal.message, message);
}

#[test]
fn specs_are_refused_in_swarmkits_words() {
    use Code::InvalidArgument as I;
    refused(|spec| spec.annotations = None, I, "meta: name must be provided");
    refused(|spec| spec.annotations = annotations("we b"), I, "name must be valid as a DNS name component");
    refused(|spec| spec.mode = None, I, "Unrecognized service mode");
    refused(|spec| spec.task.as_mut().unwrap().runtime = None, I, "TaskSpec: missing runtime");
    refused(
        |spec| with_container(spec, |container| container.image.clear()),
        I,
        "ContainerSpec: image reference must be provided",
    );
    refused(
        |spec| with_container(spec, |container| container.image = "A b".to_owned()),
        I,
        "ContainerSpec: \"A b\" is not a valid repository/tag",
    );
    let mount = t::Mount { target: "/data".to_owned(), ..Default::default() };
    refused(
        |spec| with_container(spec, |container| container.mounts = vec![mount.clone(), mount]),
        I,
        "ContainerSpec: duplicate mount point: /data",
    );
}

#[test]
fn resources_restarts_updates_and_placement_are_checked() {
    use Code::InvalidArgument as I;
    let limit = |resources: t::Resources| {
        move |spec: &mut t::ServiceSpec| {
            let requirements = t::ResourceRequirements { limits: Some(resources), ..Default::default() };
            spec.task.as_mut().unwrap().resources = Some(requirements);
        }
    };
    refused(
        limit(t::Resources { nano_cpus: 500_000, ..Default::default() }),
        I,
        "invalid cpu value 0.0005: Must be at least 0.001",
    );
    refused(
        limit(t::Resources { nano_cpus: -1, ..Default::default() }),
        I,
        "invalid cpu value -1e-09: Must be at least 0.001",
    );
    refused(
        limit(t::Resources { nano_cpus: i64::MIN, ..Default::default() }),
        I,
        "invalid cpu value -9.223372036854776e+09: Must be at least 0.001",
    );
    refused(
        limit(t::Resources { memory_bytes: 1024, ..Default::default() }),
        I,
        "invalid memory value 1024: Must be at least 4MiB",
    );
    let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    refused(
        |spec| spec.task.as_mut().unwrap().restart = Some(t::RestartPolicy { delay: negative, ..Default::default() }),
        I,
        "TaskSpec: restart-delay cannot be negative",
    );
    refused(
        |spec| spec.update = Some(t::UpdateConfig { max_failure_ratio: 1.5, ..Default::default() }),
        I,
        "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
    );
    refused(
        |spec| {
            spec.mode = Some(t::service_spec::Mode::GlobalJob(t::GlobalJob {}));
            spec.update = Some(t::UpdateConfig::default());
        },
        I,
        "Jobs may not have an update config",
    );
    let place = |text: &str| t::Placement { constraints: vec![text.to_owned()], ..Default::default() };
    refused(
        |spec| spec.task.as_mut().unwrap().placement = Some(place("node.role")),
        Code::Unknown,
        "constraint expected one operator from ==, !=",
    );
    refused(
        |spec| spec.task.as_mut().unwrap().placement = Some(place("service==db")),
        I,
        "constraint \"service==db\" goes beyond Docker's grammar, which not every manager understands: use \
         key==value or key!=value",
    );
}

#[test]
fn references_must_exist_under_their_id_and_name() {
    let secret = |name: &str, target: &str| t::SecretReference {
        secret_id: id(name),
        secret_name: name.to_owned(),
        target: Some(t::secret_reference::Target::File(t::FileTarget {
            name: target.to_owned(),
            ..Default::default()
        })),
    };
    refused(
        |spec| with_container(spec, |container| container.secrets = vec![secret("key", "key")]),
        Code::InvalidArgument,
        "secret not found: key",
    );
    refused(
        |spec| with_container(spec, |container| container.secrets = vec![secret("a", "a"), secret("b", "b")]),
        Code::InvalidArgument,
        "secrets not found: a, b",
    );
    refused(
        |spec| with_container(spec, |container| container.secrets = vec![secret("a", "x"), secret("b", "x")]),
        Code::InvalidArgument,
        "secret references 'a' and 'b' have a conflicting target: 'x'",
    );
}

fn with_ingress(name: &str) -> Swarm {
    let mut swarm = Swarm::new();
    let spec = t::NetworkSpec { ingress: true, annotations: annotations(name), ..Default::default() };
    swarm.ask(m::CreateNetworkRequest { spec: Some(Verbatim::new(spec)) }).unwrap();
    swarm
}

#[test]
fn ports_are_published_on_every_node_or_on_the_tasks_own() {
    use t::port_config::PublishMode::{Host, Ingress};
    let mut swarm = with_ingress("ingress");
    let mesh = publishing("web", vec![port(Ingress, 8080), port(Ingress, 0)]);
    swarm.ask(create(mesh.clone())).unwrap();
    assert_eq!(*swarm.ledger.committed().service_by_name("web").unwrap().spec, mesh, "stored as it came");
    let refusal = swarm.ask(create(publishing("api", vec![port(Ingress, 8080)]))).unwrap_err();
    assert_eq!(refusal.code, Code::InvalidArgument);
    assert!(refusal.message.starts_with("port '8080' is already in use by service 'web' ("), "{refusal}");
    assert!(refusal.message.ends_with(") as an ingress port"), "{refusal}");
    swarm.ask(create(publishing("host", vec![port(Host, 8081)]))).unwrap();
    swarm.ask(create(publishing("host-too", vec![port(Host, 8081)]))).unwrap();
    let refusal = swarm.ask(create(publishing("api", vec![port(Ingress, 8081)]))).unwrap_err();
    assert!(refusal.message.ends_with(") as a host-published port"), "{refusal}");
    let twice = publishing("db", vec![port(Host, 1), port(Host, 1)]);
    let twice = swarm.ask(create(twice)).unwrap_err();
    assert_eq!(twice.message, "EndpointSpec: duplicate published ports provided");
}

#[test]
fn an_update_may_publish_what_is_free_and_go_back() {
    use t::port_config::PublishMode::{Host, Ingress};
    let mut swarm = with_ingress("ingress");
    swarm.ask(create(publishing("web", vec![port(Ingress, 80)]))).unwrap();
    swarm.ask(create(publishing("api", vec![port(Ingress, 81)]))).unwrap();
    let request = update(&swarm, "web", publishing("web", vec![port(Ingress, 80), port(Ingress, 81)]));
    assert!(swarm.ask(request).unwrap_err().message.ends_with("as an ingress port"));
    let request = update(&swarm, "web", publishing("web", vec![port(Host, 80), port(Ingress, 82)]));
    swarm.ask(request).unwrap();
    // What it gave up may be another's by the time it is rolled back.
    swarm.ask(create(publishing("thief", vec![port(Host, 80)]))).unwrap();
    let current = swarm.ledger.committed().service_by_name("web").unwrap().spec.clone();
    let mut back = update(&swarm, "web", (*current).clone());
    back.set_rollback(Rollback::Previous);
    let refusal = swarm.ask(back.clone()).unwrap_err();
    assert!(refusal.message.contains("already in use by service 'thief'"), "{refusal}");
    let thief = swarm.ledger.committed().service_by_name("thief").unwrap().id.to_string();
    swarm.ask(m::RemoveServiceRequest { service_id: thief }).unwrap();
    swarm.ask(back).unwrap();
    let ports = swarm.ledger.committed().service_by_name("web").unwrap().spec.endpoint.clone().unwrap().ports;
    assert_eq!(ports, [port(Ingress, 80)]);
}

#[test]
fn without_an_ingress_network_only_hosts_publish() {
    use t::port_config::PublishMode::{Host, Ingress};
    let mut swarm = Swarm::new();
    let said = "service needs ingress network, but no ingress network is present";
    let refusal = swarm.ask(create(publishing("web", vec![port(Ingress, 80)]))).unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::FailedPrecondition, said));
    swarm.ask(create(publishing("web", vec![port(Host, 80)]))).unwrap();
    let request = update(&swarm, "web", publishing("web", vec![port(Ingress, 80)]));
    assert_eq!(swarm.ask(request).unwrap_err().message, said);
}

#[test]
fn ports_that_another_manager_published_are_taken_and_left_alone() {
    use t::port_config::PublishMode::{Host, Ingress};
    let mesh = publishing("mesh", vec![port(Ingress, 8080)]);
    let mut swarm = Swarm::new().with(Service { spec: Verbatim::new(mesh.clone()), ..service("mesh") });
    let refusal = swarm.ask(create(publishing("web", vec![port(Host, 8080)]))).unwrap_err();
    let taken = format!("port '8080' is already in use by service 'mesh' ({}) as an ingress port", id("mesh"));
    assert_eq!((refusal.code, refusal.message), (Code::InvalidArgument, taken));
    let scaled =
        t::ServiceSpec { mode: Some(t::service_spec::Mode::Replicated(t::ReplicatedService { replicas: 5 })), ..mesh };
    let request = update(&swarm, "mesh", scaled);
    swarm.ask(request).unwrap();
}

#[test]
fn an_update_keeps_the_spec_before_and_quotes_the_current_version() {
    let mut swarm = Swarm::new().with(service("web"));
    let mut spec = service_spec("web");
    with_container(&mut spec, |container| container.image = "nginx:2".to_owned());
    let request = update(&swarm, "web", spec.clone());
    swarm.ask(request.clone()).unwrap();
    let stored = swarm.ledger.committed().service_by_name("web").unwrap();
    assert_eq!(*stored.spec, spec);
    assert_eq!(stored.previous_spec.as_deref(), Some(&service_spec("web")));
    assert_eq!((stored.spec_version, stored.previous_spec_version), (Some(10), Some(0)));

    let stale = swarm.ask(request).unwrap_err();
    assert_eq!((stale.code, stale.message.as_str()), (Code::Unknown, "update out of sequence"));

    let mut back = update(&swarm, "web", spec);
    back.rollback = m::update_service_request::Rollback::Previous.into();
    swarm.ask(back).unwrap();
    let stored = swarm.ledger.committed().service_by_name("web").unwrap();
    assert_eq!(*stored.spec, service_spec("web"));
    assert_eq!((stored.spec_version, stored.previous_spec_version), (Some(0), Some(10)));
    let status = stored.update_status.as_ref().unwrap();
    assert_eq!(status.state(), t::update_status::UpdateState::RollbackStarted);
    assert_eq!(status.message, "manually requested rollback");
}

#[test]
fn what_an_update_may_not_do() {
    let mut swarm = Swarm::new().with(service("web"));
    let mut attempt = |change: &dyn Fn(&mut m::UpdateServiceRequest)| {
        let mut request = update(&swarm, "web", service_spec("web"));
        change(&mut request);
        let refusal = swarm.ask(request).unwrap_err();
        (refusal.code, refusal.message)
    };
    let spec = |spec: t::ServiceSpec| Some(Verbatim::new(spec));
    let renamed = attempt(&|request| request.spec = spec(service_spec("api")));
    assert_eq!(renamed, (Code::Unimplemented, "renaming services is not supported".to_owned()));
    let mode = attempt(&|request| {
        let mode = Some(t::service_spec::Mode::Global(t::GlobalService {}));
        request.spec = spec(t::ServiceSpec { mode, ..service_spec("web") });
    });
    assert_eq!(mode, (Code::Unimplemented, "service mode change is not allowed".to_owned()));
    let unversioned = attempt(&|request| request.service_version = None);
    assert_eq!(unversioned, (Code::InvalidArgument, "invalid argument".to_owned()));
    let unknown = attempt(&|request| request.service_id = "nothing".to_owned());
    assert_eq!(unknown, (Code::NotFound, "service nothing not found".to_owned()));
    let no_previous = attempt(&|request| request.rollback = 1);
    let message = format!("service {} does not have a previous spec", id("web"));
    assert_eq!(no_previous, (Code::FailedPrecondition, message));
}

#[test]
fn registry_credentials_outlive_an_update_that_says_nothing_of_them() {
    let auth = t::container_spec::PullOptions { registry_auth: "c2VjcmV0".to_owned() };
    let mut first = service_spec("web");
    with_container(&mut first, |container| container.pull_options = Some(auth.clone()));
    let mut swarm = Swarm::new();
    swarm.ask(create(first)).unwrap();
    let request = update(&swarm, "web", service_spec("web"));
    swarm.ask(request).unwrap();
    let stored = swarm.ledger.committed().service_by_name("web").unwrap();
    let container = super::super::service::container(&stored.spec).unwrap();
    assert_eq!(container.pull_options, Some(auth));
}

#[test]
fn jobs_count_their_iterations() {
    let job = t::ReplicatedJob { max_concurrent: 2, total_completions: 4 };
    let spec = t::ServiceSpec { mode: Some(t::service_spec::Mode::ReplicatedJob(job)), ..service_spec("job") };
    let mut swarm = Swarm::new();
    swarm.ask(create(spec.clone())).unwrap();
    let iteration = |swarm: &Swarm| {
        let service = swarm.ledger.committed().service_by_name("job").unwrap();
        service.job_status.as_ref().unwrap().job_iteration.as_ref().unwrap().index
    };
    assert_eq!(iteration(&swarm), 0);
    let request = update(&swarm, "job", spec);
    swarm.ask(request).unwrap();
    assert_eq!(iteration(&swarm), 1);
}

#[test]
fn a_removed_service_is_gone() {
    let mut swarm = Swarm::new().with(service("web"));
    swarm.ask(m::RemoveServiceRequest { service_id: id("web") }).unwrap();
    assert!(swarm.ledger.committed().services().is_empty());
    let again = swarm.ask(m::RemoveServiceRequest { service_id: id("web") }).unwrap_err();
    assert_eq!((again.code, again.message), (Code::NotFound, format!("service {} not found", id("web"))));
    assert_eq!(swarm.ask(m::RemoveServiceRequest::default()).unwrap_err().message, "invalid argument");
}

#[test]
fn lists_pass_through_every_filter() {
    let mut labelled = service_spec("web-2");
    labelled.annotations.as_mut().unwrap().labels = [("tier".to_owned(), "front".to_owned())].into();
    let mut swarm = Swarm::new()
        .with(service("web"))
        .with(Service { spec: Verbatim::new(labelled), ..service("second") })
        .with(service("api"));
    let mut names = |filters: m::list_services_request::Filters| -> Vec<String> {
        let listed = swarm.ask(m::ListServicesRequest { filters: Some(filters) }).unwrap().services;
        let name = |kept: skep_model::Kept<_>| Service::try_from(kept).unwrap().name().to_owned();
        listed.into_iter().map(name).collect()
    };
    type Filters = m::list_services_request::Filters;
    let text = |text: &str| vec![text.to_owned()];
    let label = |value: &str| [("tier".to_owned(), value.to_owned())].into();
    assert_eq!(names(Filters::default()), ["api", "web-2", "web"], "in id order");
    assert_eq!(names(Filters { names: text("web"), ..Default::default() }), ["web"]);
    assert!(names(Filters { names: text("we"), ..Default::default() }).is_empty());
    assert_eq!(names(Filters { name_prefixes: text("we"), ..Default::default() }), ["web-2", "web"]);
    assert_eq!(names(Filters { id_prefixes: text("a"), ..Default::default() }), ["api"]);
    assert_eq!(names(Filters { labels: label(""), ..Default::default() }), ["web-2"]);
    assert!(names(Filters { labels: label("back"), ..Default::default() }).is_empty());
    assert_eq!(names(Filters { runtimes: text("container"), names: text("api"), ..Default::default() }), ["api"]);
    assert!(names(Filters { runtimes: text("plugin"), ..Default::default() }).is_empty());
    assert!(names(Filters { names: text("web"), id_prefixes: text("a"), ..Default::default() }).is_empty());
}

#[test]
fn statuses_count_what_is_wanted_and_what_runs() {
    let mut failed = task("t2", "web", 2, None);
    failed.status.state = TaskState::Failed.into();
    let global =
        t::ServiceSpec { mode: Some(t::service_spec::Mode::Global(t::GlobalService {})), ..service_spec("agent") };
    let mut swarm = Swarm::new()
        .with(service("web"))
        .with(Service { spec: Verbatim::new(global), ..service("agent") })
        .with(task("t1", "web", 1, None))
        .with(failed)
        .with(task("g1", "agent", 0, Some("n1")));
    let services = vec![id("web"), id("agent"), id("gone")];
    let statuses = swarm.ask(m::ListServiceStatusesRequest { services }).unwrap().statuses;
    let counts: Vec<_> = statuses.iter().map(|status| (status.desired_tasks, status.running_tasks)).collect();
    assert_eq!(counts, [(2, 1), (1, 1), (0, 0)]);
}

#[test]
fn defaults_are_filled_in_only_for_those_who_ask() {
    let mut swarm = Swarm::new().with(service("web"));
    let mut get = |insert_defaults| {
        let request = m::GetServiceRequest { service_id: id("web"), insert_defaults };
        Service::try_from(swarm.ask(request).unwrap().service.unwrap()).unwrap()
    };
    assert_eq!(*get(false).spec, service_spec("web"));
    let filled = get(true);
    let restart = filled.spec.task.as_ref().unwrap().restart.as_ref().unwrap();
    assert_eq!(restart.condition(), t::restart_policy::RestartCondition::Any);
    assert_eq!(restart.delay.as_ref().unwrap().seconds, 5);
    assert_eq!(filled.spec.update.as_ref().unwrap().parallelism, 1);
    assert_eq!(*swarm.ledger.committed().service(&service_id("web")).unwrap().spec, service_spec("web"));
}
