//! Against a real registry on loopback, filled by skopeo; skipped loudly where they are not installed.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::super::{ContentDigest, ImageError};
use super::support::{Archive, gzip, is_root, reopen, store};

const START_ATTEMPTS: usize = 200;

struct LocalRegistry {
    child: Child,
    directory: TempDir,
    address: String,
}

impl Drop for LocalRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl LocalRegistry {
    fn start(test: &str) -> Option<Self> {
        if !is_root(test) {
            return None;
        }
        for tool in ["docker-registry", "skopeo"] {
            let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !found.is_ok_and(|status| status.success()) {
                eprintln!("SKIPPED {test}: {tool} is not installed");
                return None;
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            directory.path().join("registry").display()
        );
        let path = directory.path().join("config.yml");
        fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { child, directory, address };
        for _ in 0..START_ATTEMPTS {
            if TcpStream::connect(&registry.address).is_ok() {
                return Some(registry);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the registry did not start");
    }

    /// Makes an image of some layers and has skopeo push it, as Docker's format or as OCI's.
    fn push(&self, name: &str, format: &str, layers: &[Vec<u8>]) {
        let archive = self.directory.path().join("push.tar");
        fs::write(&archive, saved(layers)).unwrap();
        let status = Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false", "--insecure-policy", "--format", format])
            .arg(format!("docker-archive:{}", archive.display()))
            .arg(format!("docker://{}/{name}", self.address))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn blobs(&self) -> std::path::PathBuf {
        self.directory.path().join("registry/docker/registry/v2/blobs/sha256")
    }
}

fn saved(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| ContentDigest::of(layer).to_string()).collect();
    let config = json!({"architecture": super::super::config::host_architecture(), "os": "linux",
        "config": {"Cmd": ["/run"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let names: Vec<String> = (0..layers.len()).map(|number| format!("layer{number}.tar")).collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": ["x/y:1"], "Layers": names}]);
    let mut archive = Archive::default().file("config.json", config.to_string().as_bytes());
    for (name, layer) in names.iter().zip(layers) {
        archive = archive.file(name, layer);
    }
    archive.file("manifest.json", manifest.to_string().as_bytes()).finish()
}

fn layer(name: &str, size: usize) -> Vec<u8> {
    Archive::default().file(name, &name.as_bytes().repeat(size)).finish()
}

async fn statuses(mut receiver: mpsc::Receiver<skep_model::engine::PullProgress>) -> Vec<String> {
    let mut statuses = Vec::new();
    while let Some(step) = receiver.recv().await {
        statuses.push(step.status);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn both_formats_pull_and_share_layers() {
    let Some(registry) = LocalRegistry::start("both_formats_pull_and_share_layers") else { return };
    let layers: Vec<Vec<u8>> = (0..5).map(|number| layer(&format!("file{number}"), 1000)).collect();
    registry.push("docker:1", "v2s2", &layers);
    registry.push("oci:1", "oci", &layers);
    let (directory, store) = store();
    let name = format!("{}/docker:1", registry.address);
    let (sender, receiver) = mpsc::channel(1000);
    let image = store.resolve_or_pull(&name, None, Some(sender)).await.unwrap();
    let seen = statuses(receiver).await;
    assert!(seen.contains(&"Pull complete".to_owned()) && seen.last().unwrap().starts_with("Status: Downloaded newer"));
    assert_eq!(image.repo_tags, [name.as_str()]);
    assert_eq!((image.diff_ids.len(), image.size_bytes), (5, 25_000));

    let distribution = store.distribution(&name, None).await.unwrap();
    assert_eq!(image.repo_digests, [format!("{}/docker@{}", registry.address, distribution.digest)]);
    assert_eq!(distribution.media_type, "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(distribution.platforms[0].1, "linux");

    // The other format has the same layers: nothing is fetched twice.
    let (sender, receiver) = mpsc::channel(1000);
    let oci = store.pull(&format!("{}/oci:1", registry.address), None, None, Some(sender)).await.unwrap();
    assert_eq!(statuses(receiver).await.iter().filter(|status| *status == "Already exists").count(), 5);
    assert_eq!(oci.diff_ids, image.diff_ids);

    // By digest, on a store that has nothing; then offline.
    let by_digest = image.repo_digests[0].clone();
    let (_other_directory, other) = self::store();
    let pulled = other.resolve_or_pull(&by_digest, None, None).await.unwrap();
    assert_eq!((pulled.id.as_str(), pulled.repo_tags.len()), (image.id.as_str(), 0));
    drop(registry);
    assert_eq!(reopen(directory.path()).resolve_or_pull(&by_digest, None, None).await.unwrap().id, image.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_yields_this_hosts_image() {
    let Some(registry) = LocalRegistry::start("an_index_yields_this_hosts_image") else { return };
    registry.push("app:1", "oci", &[layer("f", 10)]);
    let (_directory, store) = store();
    let single = store.distribution(&format!("{}/app:1", registry.address), None).await.unwrap();
    let entry = |digest: &str, architecture: &str| {
        json!({"mediaType": single.media_type, "size": single.size_bytes, "digest": digest,
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry(&single.digest, "s390x"), entry(&single.digest, super::super::config::host_architecture())]});
    put_manifest(&registry.address, "app", "many", &index.to_string());
    let name = format!("{}/app:many", registry.address);
    let image = store.pull(&name, None, None, None).await.unwrap();
    let distribution = store.distribution(&name, None).await.unwrap();
    assert_eq!(distribution.platforms.len(), 2);
    assert_eq!(
        image.repo_digests,
        [format!("{}/app@{}", registry.address, ContentDigest::of(index.to_string().as_bytes()))]
    );
    let error = store.pull(&name, Some("linux/riscv64"), None, None).await.unwrap_err();
    assert!(matches!(error, ImageError::NoPlatform { .. }), "{error}");
}

/// By hand, since skopeo makes no lists.
fn put_manifest(address: &str, repository: &str, tag: &str, manifest: &str) {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "PUT /v2/{repository}/manifests/{tag} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: {}\r\n\r\n{manifest}",
        manifest.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registrys_answer_is_kept() {
    let Some(registry) = LocalRegistry::start("the_registrys_answer_is_kept") else { return };
    registry.push("app:1", "v2s2", &[layer("f", 10)]);
    let (_directory, store) = store();
    for name in ["app:2", "nothing:1"] {
        let error = store.pull(&format!("{}/{name}", registry.address), None, None, None).await.unwrap_err();
        assert!(matches!(error, ImageError::UnknownManifest { .. }), "{error}");
        assert!(error.to_string().contains("manifest unknown"), "{error}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = store.pull(&format!("{closed}/app:1"), None, None, None).await.unwrap_err();
    assert!(matches!(error, ImageError::Registry { .. }));
    assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_wants_credentials_says_unauthorized() {
    let Some(_) = is_root("a_registry_that_wants_credentials_says_unauthorized").then_some(()) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0; 4096];
            let Ok(count) = stream.read(&mut buffer) else { continue };
            let request = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let known = request.to_lowercase().contains("authorization: basic dxnlcjpwyxnz");
            let status = if known { "404 Not Found" } else { "401 Unauthorized" };
            let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let (_directory, store) = store();
    let name = format!("{address}/app:1");
    let error = store.pull(&name, None, None, None).await.unwrap_err();
    assert!(matches!(error, ImageError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("unauthorized"), "{error}");
    let auth = skep_model::engine::RegistryAuth {
        username: "user".into(),
        password: "pass".into(),
        ..skep_model::engine::RegistryAuth::default()
    };
    let error = store.pull(&name, None, Some(&auth), None).await.unwrap_err();
    assert!(matches!(error, ImageError::UnknownManifest { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_fetch_each_layer_once() {
    let Some(registry) = LocalRegistry::start("many_at_once_fetch_each_layer_once") else { return };
    registry.push("app:1", "v2s2", &(0..4).map(|number| layer(&format!("f{number}"), 5000)).collect::<Vec<_>>());
    let (_directory, store) = store();
    let name = format!("{}/app:1", registry.address);
    let (sender, receiver) = mpsc::channel(10_000);
    let pulls = (0..6).map(|_| store.pull(&name, None, None, Some(sender.clone())));
    let images = futures::future::try_join_all(pulls).await.unwrap();
    drop(sender);
    assert!(images.windows(2).all(|pair| pair[0].id == pair[1].id));
    assert_eq!(statuses(receiver).await.iter().filter(|status| *status == "Pull complete").count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_breaks_off_leaves_a_whole_store() {
    let Some(registry) = LocalRegistry::start("a_pull_that_breaks_off_leaves_a_whole_store") else { return };
    let layers: Vec<Vec<u8>> = (0..3).map(|number| layer(&format!("f{number}"), 5000)).collect();
    registry.push("app:1", "v2s2", &layers);
    // The registry's copy of the last layer rots.
    let rotten = find_blob_of(&registry.blobs(), &gzip_matches(&layers[2]));
    let good = fs::read(&rotten).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 0xff;
    fs::write(&rotten, &bad).unwrap();
    let (directory, store) = store();
    let name = format!("{}/app:1", registry.address);
    assert!(store.pull(&name, None, None, None).await.is_err());
    assert!(store.list().is_empty());
    drop(store);
    let store = reopen(directory.path());
    assert!(store.list().is_empty());
    assert_eq!(fs::read_dir(directory.path().join("images/tmp")).unwrap().count(), 0);
    fs::write(&rotten, &good).unwrap();
    let image = store.pull(&name, None, None, None).await.unwrap();
    let merged = store.mount_rootfs(&image.id, "c1").unwrap();
    assert_eq!(fs::read(merged.join("f2")).unwrap().len(), 10_000);
    store.remove_rootfs("c1").unwrap();
}

/// Tells whether a stored blob unpacks to this layer.
fn gzip_matches(layer: &[u8]) -> impl Fn(&[u8]) -> bool + use<'_> {
    move |stored| {
        use std::io::Read;
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(stored).read_to_end(&mut plain).is_ok() && plain == layer
    }
}

fn find_blob_of(blobs: &Path, matches: &impl Fn(&[u8]) -> bool) -> std::path::PathBuf {
    for shard in fs::read_dir(blobs).unwrap() {
        for blob in fs::read_dir(shard.unwrap().path()).unwrap() {
            let path = blob.unwrap().path().join("data");
            if matches(&fs::read(&path).unwrap()) {
                return path;
            }
        }
    }
    panic!("the layer is not in the registry");
}

#[test]
fn compressed_as_the_registry_has_it() {
    assert!(gzip_matches(b"layer")(&gzip(b"layer")) && !gzip_matches(b"layer")(b"other"));
}
