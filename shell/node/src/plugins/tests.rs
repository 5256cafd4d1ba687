use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use skep_manager::{DriverFailure, SecretRequest};
use skep_model::pb::types::{EndpointSpec, PortConfig};
use skep_model::{NodeId, TaskId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use super::Plugins;

fn request(driver: &str) -> SecretRequest {
    SecretRequest {
        driver: driver.to_owned(),
        secret_name: "key".to_owned(),
        secret_labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        service_hostname: String::new(),
        service_id: "service".to_owned(),
        service_name: "web".to_owned(),
        service_labels: BTreeMap::new(),
        service_endpoint_spec: Some(EndpointSpec {
            ports: vec![PortConfig { target_port: 80, published_port: 8080, publish_mode: 1, ..Default::default() }],
            ..Default::default()
        }),
        task_id: TaskId::new("task").expect("an id"),
        task_name: "web.1.task".to_owned(),
        task_image: "busybox".to_owned(),
        node_id: NodeId::optional("node"),
    }
}

/// One request of a connection, head and body; the answer goes back with this status.
async fn converse(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    answer: (&str, &str),
) -> String {
    let mut text = String::new();
    while !is_whole(&text) {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.expect("a request");
        assert!(count > 0, "{text}");
        text += std::str::from_utf8(&piece[..count]).expect("text");
    }
    let (status, body) = answer;
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await.expect("an answer");
    text
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

const SECRETS: (&str, &str) = ("200 OK", r#"{"Implements":["VolumeDriver","secretprovider"]}"#);

/// A plugin that gives these answers, one connection each; what it heard.
fn serve(socket: &Path, answers: Vec<(&'static str, String)>) -> tokio::task::JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).expect("a socket");
    tokio::spawn(async move {
        let mut heard = Vec::new();
        for (status, body) in answers {
            let (stream, _) = listener.accept().await.expect("a connection");
            heard.push(converse(stream, (status, &body)).await);
        }
        heard
    })
}

fn owned((status, body): (&'static str, &str)) -> (&'static str, String) {
    (status, body.to_owned())
}

#[tokio::test]
async fn a_plugin_is_activated_once_and_asked_in_dockers_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let answers = [
        SECRETS,
        ("200 OK", r#"{"Value":"aHVzaA==","DoNotReuse":true,"Err":""}"#),
        ("200 OK", r#"{"Value":null,"Err":"no such key"}"#),
        ("500 Internal Server Error", r#"{"Err":"it broke"}"#),
        ("404 Not Found", "nothing here\n"),
        ("200 OK", r#"{"Value":"***"}"#),
        ("200 OK", "aHVzaA=="),
    ];
    let served = serve(&directory.path().join("vault.sock"), answers.map(owned).into());
    let plugins = Plugins::new(vec![directory.path().join("none"), directory.path().to_owned()]);
    let value = plugins.secret(&request("vault")).await.expect("a value");
    assert_eq!((&value.data[..], value.do_not_reuse), (&b"hush"[..], true));
    assert!(!format!("{value:?}").contains("hush") && !format!("{value:?}").contains("104"), "{value:?}");
    for words in [
        "the plugin said: no such key",
        "the plugin said: it broke",
        "the plugin said: nothing here",
        "the plugin's answer cannot be used: Value is not base64",
        "the plugin's answer cannot be used: it is not JSON with Value, Err and DoNotReuse",
    ] {
        assert_eq!(plugins.secret(&request("vault")).await.expect_err("a failure").to_string(), words);
    }
    let heard = served.await.expect("what was heard");
    assert!(heard[0].starts_with("POST /Plugin.Activate HTTP/1.1\r\n"), "{}", heard[0]);
    assert!(heard[1].starts_with("POST /SecretProvider.GetSecret HTTP/1.1\r\n"), "{}", heard[1]);
    assert!(heard[1].to_lowercase().contains("accept: application/vnd.docker.plugins.v1.2+json\r\n"), "{}", heard[1]);
    let (_, body) = heard[1].split_once("\r\n\r\n").expect("a body");
    assert_eq!(
        body,
        r#"{"SecretName":"key","SecretLabels":{"a":"b"},"ServiceID":"service","ServiceName":"web","TaskID":"task","TaskName":"web.1.task","TaskImage":"busybox","NodeID":"node","ServiceEndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080,"PublishMode":1}]}}"#
    );
}

#[tokio::test]
async fn plugins_are_found_as_docker_finds_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let plugins = Plugins::new(vec![root.to_owned()]);
    let failure = async |name: &str| plugins.secret(&request(name)).await.expect_err("a failure");
    for name in ["none", "../none", ".none", "a/b:latest", ""] {
        assert!(matches!(failure(name).await, DriverFailure::NotFound { .. }), "{name}");
    }
    let text = failure("none").await.to_string();
    assert!(text.starts_with("there is no plugin of that name (none.sock, none.spec or none.json in /"), "{text}");

    // In a directory of its name.
    std::fs::create_dir(root.join("nested")).expect("a directory");
    let served =
        serve(&root.join("nested/nested.sock"), vec![owned(SECRETS), owned(("200 OK", r#"{"Value":"eA=="}"#))]);
    plugins.secret(&request("nested")).await.expect("a value");
    served.await.expect("asked");

    // By address, in either form.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let served = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            converse(stream, ("200 OK", r#"{"Implements":["VolumeDriver"]}"#)).await;
        }
    });
    std::fs::write(root.join("plain.spec"), format!("tcp://{address}\n")).expect("a file");
    std::fs::write(root.join("json.json"), format!(r#"{{"Name":"json","Addr":"http://{address}"}}"#)).expect("a file");
    for name in ["plain", "json"] {
        assert_eq!(failure(name).await.to_string(), "the plugin is no secretprovider: it implements VolumeDriver");
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);
    served.abort();

    std::fs::write(root.join("secure.spec"), format!("https://{address}\n")).expect("a file");
    assert!(failure("secure").await.to_string().contains("https needs a .json file with a TLSConfig"));
    std::fs::write(root.join("odd.spec"), "ftp://x\n").expect("a file");
    assert!(failure("odd").await.to_string().contains("is not unix:///PATH"));
    std::fs::write(root.join("gone.spec"), format!("unix://{}/gone.socket\n", root.display())).expect("a file");
    assert!(matches!(failure("gone").await, DriverFailure::Away { .. }));
}
