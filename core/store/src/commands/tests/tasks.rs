use skep_model::objects::TaskAnnotations;
use skep_model::pb::messages as m;
use skep_model::pb::types as t;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::{Code, Service, TaskState, Verbatim};

use crate::fixture::{Swarm, id, service, service_spec, task};

type Filters = m::list_tasks_request::Filters;

fn found(swarm: &mut Swarm, filters: Filters) -> Vec<String> {
    let tasks = swarm.ask(m::ListTasksRequest { filters: Some(filters) }).unwrap().tasks;
    tasks.iter().map(|task| task.value.id.trim_end_matches('0').to_owned()).collect()
}

#[test]
fn tasks_are_found_by_every_filter() {
    let mut stopped = task("t2", "web", 2, Some("n1"));
    stopped.desired_state = TaskState::Shutdown;
    let own = t::Annotations { name: "web.2.named".to_owned(), ..Default::default() };
    stopped.annotations = TaskAnnotations::Written(own.into());
    stopped.service_annotations.edit().labels = [("tier".to_owned(), "front".to_owned())].into();
    let mut swarm = Swarm::new()
        .with(task("t1", "web", 1, Some("n1")))
        .with(stopped)
        .with(task("t3", "api", 1, Some("n2")))
        .with(task("t4", "agent", 0, Some("n2")));
    let text = |text: &str| vec![text.to_owned()];
    assert_eq!(found(&mut swarm, Filters::default()), ["t1", "t2", "t3", "t4"]);
    let services = Filters { service_ids: vec![id("web"), id("api"), id("web")], ..Default::default() };
    assert_eq!(found(&mut swarm, services), ["t1", "t2", "t3"]);
    assert_eq!(found(&mut swarm, Filters { node_ids: text(&id("n2")), ..Default::default() }), ["t3", "t4"]);
    let both = Filters { node_ids: text(&id("n2")), service_ids: text(&id("web")), ..Default::default() };
    assert!(found(&mut swarm, both).is_empty());
    let running = Filters { desired_states: vec![TaskState::Running.into()], ..Default::default() };
    assert_eq!(found(&mut swarm, running), ["t1", "t3", "t4"]);
    assert_eq!(found(&mut swarm, Filters { names: text("web.2.named"), ..Default::default() }), ["t2"]);
    assert_eq!(found(&mut swarm, Filters { name_prefixes: text("web.1."), ..Default::default() }), ["t1"]);
    let global = Filters { name_prefixes: text(&format!("agent.{}.", id("n2"))), ..Default::default() };
    assert_eq!(found(&mut swarm, global), ["t4"]);
    assert_eq!(found(&mut swarm, Filters { id_prefixes: text("t3"), ..Default::default() }), ["t3"]);
    let labels = [("tier".to_owned(), "front".to_owned())].into();
    assert_eq!(found(&mut swarm, Filters { labels, ..Default::default() }), ["t2"]);
    assert!(found(&mut swarm, Filters { runtimes: text("attachment"), ..Default::default() }).is_empty());
    assert!(found(&mut swarm, Filters { service_ids: text("not an id"), ..Default::default() }).is_empty());
}

#[test]
fn a_task_is_up_to_date_while_its_service_asks_for_the_same_work() {
    let pull = |auth: &str| {
        let mut spec = service_spec("web");
        if let Some(Runtime::Container(container)) = &mut spec.task.as_mut().unwrap().runtime {
            container.pull_options = Some(t::container_spec::PullOptions { registry_auth: auth.to_owned() });
        }
        spec
    };
    let mut changed = service_spec("web");
    changed.task.as_mut().unwrap().force_update = 1;
    let up_to_date = Filters { up_to_date: true, ..Default::default() };
    for (spec, version, fresh) in
        [(service_spec("web"), 5, true), (pull("other"), 5, true), (changed.clone(), 5, false), (changed, 0, true)]
    {
        let web = Service { spec: Verbatim::new(spec), spec_version: Some(version), ..service("web") };
        let mut swarm = Swarm::new().with(web).with(task("t1", "web", 1, None));
        assert_eq!(found(&mut swarm, up_to_date.clone()).len(), usize::from(fresh), "{version}");
    }
    let mut swarm = Swarm::new().with(task("t1", "web", 1, None));
    assert!(found(&mut swarm, up_to_date).is_empty(), "the service is gone");
}

#[test]
fn one_task_is_read_and_removed_by_its_id() {
    let mut swarm = Swarm::new().with(task("t1", "web", 1, None));
    let got = swarm.ask(m::GetTaskRequest { task_id: id("t1") }).unwrap().task.unwrap();
    assert_eq!(got.value.id, id("t1"));
    swarm.ask(m::RemoveTaskRequest { task_id: id("t1") }).unwrap();
    let gone = swarm.ask(m::GetTaskRequest { task_id: id("t1") }).unwrap_err();
    assert_eq!((gone.code, gone.message), (Code::NotFound, format!("task {} not found", id("t1"))));
    assert_eq!(swarm.ask(m::RemoveTaskRequest::default()).unwrap_err().message, "invalid argument");
}
