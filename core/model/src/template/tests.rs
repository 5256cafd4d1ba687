//! What Go's templates give for the same texts.

use std::collections::BTreeMap;

use super::*;
use crate::pb::types::{ContainerSpec, Mount};

fn facts() -> Facts {
    Facts {
        service_id: "service1".to_owned(),
        service_name: "web".to_owned(),
        service_labels: BTreeMap::from([
            ("a.b".to_owned(), "dotted".to_owned()),
            ("tier".to_owned(), "front".to_owned()),
        ]),
        node_id: "node1".to_owned(),
        node_hostname: "alpha".to_owned(),
        node_os: "linux".to_owned(),
        node_architecture: "x86_64".to_owned(),
        task_id: "task1".to_owned(),
        task_name: "web.3.task1".to_owned(),
        task_slot: "3".to_owned(),
    }
}

struct Payloads;

impl Lookup for Payloads {
    fn secret(&self, target: &str) -> Result<String, String> {
        if target == "password" { Ok("hush".to_owned()) } else { Err(format!("secret target {target} not found")) }
    }

    fn config(&self, target: &str) -> Result<String, String> {
        Err(format!("config target {target} not found"))
    }

    fn env(&self, name: &str) -> String {
        if name == "PORT" { "81".to_owned() } else { String::new() }
    }
}

#[test]
fn placeholders_become_what_they_stand_for() {
    for (text, expected) in [
        ("no placeholder", "no placeholder"),
        ("{{.Service.Name}}-{{ .Task.Slot }}@{{.Node.Hostname}}", "web-3@alpha"),
        ("{{.Service.ID}} {{.Node.ID}} {{.Task.ID}} {{.Task.Name}}", "service1 node1 task1 web.3.task1"),
        ("{{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}", "linux/x86_64"),
        ("{{.Service.Labels.tier}}", "front"),
        (r#"{{index .Service.Labels "a.b"}}|{{index .Service.Labels "none"}}"#, "dotted|"),
        (r#"{{join "-" .Service.Name .Task.Slot}}"#, "web-3"),
        ("a {{- /* trimmed */ -}} b", "ab"),
        ("a {{- .Task.Slot -}} b", "a3b"),
        (r#"{{if eq .Task.Slot "3" "4"}}yes{{else}}no{{end}}"#, "yes"),
        (r#"{{if eq .Task.Slot "1"}}one{{else if ne .Node.ID "x"}}else{{end}}"#, "else"),
        ("{{with .Service}}{{.Name}}/{{$.Task.Slot}}{{end}}", "web/3"),
        ("{{range $key, $value := .Service.Labels}}{{$key}}={{$value}};{{end}}", "a.b=dotted;tier=front;"),
        ("{{$name := .Service.Name}}{{$name | printf \"%s:%q\" .Task.ID}}", "task1:\"web\""),
        ("{{(.Node.Platform).OS}}{{`{{`}}", "linux{{"),
        ("{{.Service.Labels}}", "map[a.b:dotted tier:front]"),
    ] {
        assert_eq!(expand(text, &facts(), None).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_not_there_or_not_understood_is_an_error() {
    for (text, expected) in [
        ("{{.Secret}}", "can't evaluate field Secret (there are Service, Node, Task)"),
        ("{{.Service.Labels.none}}", "map has no entry for key \"none\""),
        ("{{.Task.ID", "unclosed action"),
        ("{{}}", "missing value for command"),
        ("{{if .Task}}", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{nope .Task}}", "function \"nope\" not defined"),
        (r#"{{secret "password"}}"#, "function \"secret\" not defined"),
        ("{{.Task.ID.More}}", "can't evaluate field More"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{ .Task.ID ) }}", "unexpected right paren"),
        ("{{ \"a }}", "unterminated quoted string"),
        ("{{ 'a' }}", "unexpected '\\'' in action"),
    ] {
        let error = expand(text, &facts(), None).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let deep = format!("{}{}", "{{if .Task}}".repeat(100), "{{end}}".repeat(100));
    assert!(expand(&deep, &facts(), None).expect_err("deep").to_string().contains("levels"));
    let deep = format!("{{{{{}.Task{}}}}}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(expand(&deep, &facts(), None).expect_err("deep").to_string().contains("levels"));
    let long = format!("{}{}", "{{range $.Service.Labels}}".repeat(30), "{{end}}".repeat(30));
    assert!(expand(&long, &facts(), None).expect_err("long").to_string().contains("steps"));
}

#[test]
fn texts_of_secrets_and_configs_may_ask_for_more() {
    let expanded = expand(r#"{{secret "password"}}@{{env "PORT"}}{{env "NONE"}}"#, &facts(), Some(&Payloads));
    assert_eq!(expanded.as_deref(), Ok("hush@81"));
    let error = expand(r#"{{config "other"}}"#, &facts(), Some(&Payloads)).expect_err("missing");
    assert_eq!(error.to_string(), "template: config target other not found");
    assert!(check_payload(r#"{{secret "later"}}"#).is_ok());
    assert!(check_payload("{{secret").is_err());
}

#[test]
fn the_fields_of_a_container_are_expanded_and_named_in_errors() {
    let mount =
        Mount { source: "data-{{.Task.Slot}}".to_owned(), target: "/{{.Service.Name}}".to_owned(), ..Mount::default() };
    let spec = ContainerSpec {
        env: vec!["A={{.Node.Hostname}}=x".to_owned(), "{{.Plain}}".to_owned()],
        hostname: "{{.Service.Name}}-{{.Task.Slot}}".to_owned(),
        mounts: vec![mount],
        dir: "{{.Kept}}".to_owned(),
        ..ContainerSpec::default()
    };
    let expanded = container(&spec, &facts()).expect("expands");
    assert_eq!(expanded.env, ["A=alpha=x", "{{.Plain}}"]);
    assert_eq!((expanded.hostname.as_str(), expanded.dir.as_str()), ("web-3", "{{.Kept}}"));
    assert_eq!((expanded.mounts[0].source.as_str(), expanded.mounts[0].target.as_str()), ("data-3", "/web"));
    let wrong = ContainerSpec { env: vec!["A={{.Nope}}".to_owned()], ..ContainerSpec::default() };
    let error = container(&wrong, &facts()).expect_err("unknown").to_string();
    assert!(error.starts_with("expanding env \"A={{.Nope}}\": template: can't evaluate field Nope"), "{error}");
}
