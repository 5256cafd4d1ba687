//! Import, load, names, mounts, removal.

use std::fs;

use serde_json::json;

use super::super::{ContentDigest, ImageChange, ImageError, ImageStore, ImageUse, ImportRequest, PruneRequest};
use super::support::{Archive, gzip, is_root, reopen, store};

fn request(reference: &str) -> ImportRequest {
    ImportRequest {
        reference: reference.into(),
        changes: vec![r#"CMD ["/web"]"#.into(), "ENV PORT=80".into(), "EXPOSE 80".into()],
        message: "made by a test".into(),
        platform: String::new(),
    }
}

fn files() -> Vec<u8> {
    Archive::default().directory("etc", 0o755).file("etc/name", b"lower").file("web", b"binary").finish()
}

/// What `docker save` writes, with two layers, the second hiding and replacing things of the first.
fn saved(tag: &str) -> (Vec<u8>, String) {
    let lower = Archive::default()
        .directory("a", 0o755)
        .file("a/hidden", b"1")
        .file("a/kept", b"1")
        .directory("b", 0o750)
        .file("b/old", b"1")
        .file("c", b"1")
        .finish();
    let upper = Archive::default()
        .file("a/.wh.hidden", b"")
        .directory("b", 0o700)
        .file("b/.wh..wh..opq", b"")
        .file("b/new", b"2")
        .file("c", b"2")
        .finish();
    let diff_ids = [ContentDigest::of(&lower).to_string(), ContentDigest::of(&upper).to_string()];
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2024-05-06T07:08:09.5Z",
        "config": {"Cmd": ["/c"], "Env": null, "Labels": {"k": "v"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string();
    let id = ContentDigest::of(config.as_bytes());
    let manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": ["l1/layer.tar", "l2/layer.tar"]}]);
    let archive = Archive::default()
        .file("config.json", config.as_bytes())
        .file("real.tar", &gzip(&lower))
        .symlink("l1/layer.tar", "../real.tar")
        .file("l2/layer.tar", &upper)
        .file("manifest.json", manifest.to_string().as_bytes())
        .finish();
    (archive, id.to_string())
}

#[tokio::test]
async fn an_import_is_an_image_that_survives_a_restart() {
    if !is_root("an_import_is_an_image_that_survives_a_restart") {
        return;
    }
    let (directory, store) = store();
    let image = store.import(&gzip(&files())[..], request("demo/web:1")).await.unwrap();
    assert_eq!(image.repo_tags, ["demo/web:1"]);
    assert_eq!(image.config.command, ["/web"]);
    assert_eq!(image.config.env, ["PORT=80"]);
    assert_eq!(image.config.exposed_ports, ["80/tcp"]);
    assert_eq!(image.size_bytes, 11);
    assert_eq!(image.diff_ids, [ContentDigest::of(&files()).to_string()]);
    let again = reopen(directory.path());
    assert_eq!(again.list(), std::slice::from_ref(&image));
    for name in ["demo/web:1", "docker.io/demo/web:1", &image.id, &image.id[7..19]] {
        assert_eq!(again.get(name).unwrap(), image, "{name}");
    }
    assert!(matches!(again.get("demo/web"), Err(ImageError::NotFound(_))));
}

#[tokio::test]
async fn a_saved_image_loads_and_its_whiteouts_hide() {
    if !is_root("a_saved_image_loads_and_its_whiteouts_hide") {
        return;
    }
    let (_directory, store) = store();
    let (archive, id) = saved("docker.io/library/demo:1");
    assert_eq!(store.load(&gzip(&archive)[..]).await.unwrap(), ["demo:1"]);
    let image = store.get("demo:1").unwrap();
    assert_eq!((image.id.as_str(), image.config.labels["k"].as_str()), (id.as_str(), "v"));
    assert_eq!(image.created_at.0, 1_714_979_289_500_000_000);
    let merged = store.mount_rootfs("demo:1", "c1").unwrap();
    let names = |path: &str| {
        let mut names: Vec<_> = fs::read_dir(merged.join(path))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("a"), ["kept"]);
    assert_eq!(names("b"), ["new"]);
    assert_eq!(fs::read_to_string(merged.join("c")).unwrap(), "2");
    store.remove_rootfs("c1").unwrap();
}

#[tokio::test]
async fn an_oci_layout_loads() {
    if !is_root("an_oci_layout_loads") {
        return;
    }
    let (_directory, store) = store();
    let layer = files();
    let packed = zstd::encode_all(&layer[..], 1).unwrap();
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [ContentDigest::of(&layer).to_string()]}})
    .to_string();
    let describe = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": ContentDigest::of(bytes).to_string(), "size": bytes.len()});
    let manifest =
        json!({"schemaVersion": 2, "config": describe("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": [describe("application/vnd.oci.image.layer.v1.tar+zstd", &packed)]})
        .to_string();
    let mut entry = describe("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "example.org/team/app:2"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", ContentDigest::of(bytes).hex());
    let archive = Archive::default()
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("index.json", index.as_bytes())
        .file(&blob(manifest.as_bytes()), manifest.as_bytes())
        .file(&blob(config.as_bytes()), config.as_bytes())
        .file(&blob(&packed), &packed)
        .finish();
    assert_eq!(store.load(&archive[..]).await.unwrap(), ["example.org/team/app:2"]);
    assert_eq!(store.get("example.org/team/app:2").unwrap().diff_ids.len(), 1);
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_config_says_is_refused() {
    if !is_root("a_layer_that_is_not_what_the_config_says_is_refused") {
        return;
    }
    let (_directory, store) = store();
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [ContentDigest::of(b"another").to_string()]}});
    let manifest = json!([{"Config": "c", "RepoTags": ["x:1"], "Layers": ["l"]}]);
    let archive = Archive::default()
        .file("c", config.to_string().as_bytes())
        .file("l", &files())
        .file("manifest.json", manifest.to_string().as_bytes())
        .finish();
    assert!(matches!(store.load(&archive[..]).await, Err(ImageError::DigestMismatch { .. })));
    assert!(store.list().is_empty());
}

#[tokio::test]
async fn an_archive_cannot_point_out_of_itself() {
    let (_directory, store) = store();
    let manifest = json!([{"Config": "../../../../../../etc/passwd", "RepoTags": null, "Layers": []}]);
    for archive in [
        Archive::default().file("manifest.json", manifest.to_string().as_bytes()).finish(),
        Archive::default().symlink("manifest.json", "/etc/passwd").finish(),
    ] {
        let error = store.load(&archive[..]).await.unwrap_err();
        assert!(matches!(error, ImageError::InvalidImage(_)), "{error}");
    }
}

#[tokio::test]
async fn a_container_keeps_its_changes_and_its_layers() {
    if !is_root("a_container_keeps_its_changes_and_its_layers") {
        return;
    }
    let (directory, store) = store();
    let image = store.import(&files()[..], request("demo")).await.unwrap();
    let merged = store.mount_rootfs(&image.id, "c1").unwrap();
    assert_eq!(store.mount_rootfs(&image.id, "c1").unwrap(), merged);
    assert_eq!(fs::read_to_string(merged.join("etc/name")).unwrap(), "lower");
    fs::write(merged.join("etc/name"), "changed").unwrap();
    let other = store.mount_rootfs(&image.id, "c2").unwrap();
    assert_eq!(fs::read_to_string(other.join("etc/name")).unwrap(), "lower");

    // Forced away, the image's layers stay below the containers, over a restart too.
    store.remove(&image.id, true, Vec::new()).await.unwrap();
    store.unmount_rootfs("c1").unwrap();
    let store = reopen(directory.path());
    assert_eq!(store.rootfs_containers(), ["c1", "c2"]);
    let merged = store.mount_rootfs(&image.id, "c1").unwrap();
    assert_eq!(fs::read_to_string(merged.join("etc/name")).unwrap(), "changed");
    for container in ["c1", "c2"] {
        store.remove_rootfs(container).unwrap();
        store.remove_rootfs(container).unwrap();
    }
    assert!(store.prune(PruneRequest::default(), Vec::new()).await.unwrap().reclaimed_bytes > 0);
    assert_eq!(fs::read_dir(directory.path().join("images/layers")).unwrap().count(), 0);
}

#[test]
fn container_ids_are_checked_before_they_are_paths() {
    let (_directory, store) = store();
    for id in ["", "..", "a/b", "../../x", "a.b", &"a".repeat(129)] {
        assert!(matches!(store.mount_rootfs("x", id), Err(ImageError::InvalidContainerId(_))), "{id:?}");
        assert!(store.remove_rootfs(id).is_err());
    }
}

fn running(image: &str, running: bool) -> Vec<ImageUse> {
    vec![ImageUse { image_id: image.into(), container_id: "0123456789abcdef".into(), running }]
}

async fn tagged(store: &ImageStore) -> String {
    let image = store.import(&files()[..], request("demo:1")).await.unwrap();
    store.tag("demo:1", "demo:2").await.unwrap();
    image.id
}

#[tokio::test]
async fn removing_follows_docker() {
    if !is_root("removing_follows_docker") {
        return;
    }
    let (directory, store) = store();
    let id = tagged(&store).await;
    let untagged = store.remove("demo:1", false, Vec::new()).await.unwrap();
    assert_eq!(untagged, [ImageChange::Untagged("demo:1".into())]);
    store.tag("demo:2", "other/repo:1").await.unwrap();
    let refused = store.remove(&id, false, Vec::new()).await.unwrap_err().to_string();
    assert!(refused.ends_with("(must be forced) - image is referenced in multiple repositories"), "{refused}");
    store.remove("other/repo:1", false, Vec::new()).await.unwrap();
    let refused = store.remove("demo:2", true, running(&id, true)).await.unwrap_err().to_string();
    assert!(
        refused.ends_with("(cannot be forced) - image is being used by running container 0123456789ab"),
        "{refused}"
    );
    assert!(store.remove("demo:2", false, running(&id, false)).await.is_err());
    let gone = store.remove("demo:2", true, running(&id, false)).await.unwrap();
    assert_eq!(gone, [ImageChange::Untagged("demo:2".into()), ImageChange::Deleted(id)]);
    assert!(reopen(directory.path()).list().is_empty());
    assert_eq!(fs::read_dir(directory.path().join("images/layers")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(directory.path().join("images/blobs/sha256")).unwrap().count(), 0);
}

#[tokio::test]
async fn pruning_spares_what_is_named_or_used() {
    if !is_root("pruning_spares_what_is_named_or_used") {
        return;
    }
    let (_directory, store) = store();
    let named = tagged(&store).await;
    let nameless =
        store.import(&Archive::default().file("x", b"123").finish()[..], ImportRequest::default()).await.unwrap();
    let dangling = PruneRequest { dangling_only: true, ..PruneRequest::default() };
    let spared = store.prune(dangling.clone(), running(&nameless.id, false)).await.unwrap();
    assert!(spared.changes.is_empty());
    let report = store.prune(dangling, Vec::new()).await.unwrap();
    assert_eq!(report.changes, [ImageChange::Deleted(nameless.id)]);
    assert_eq!(report.reclaimed_bytes, 3);
    assert_eq!(store.get("demo:2").unwrap().id, named);
    let labelled = PruneRequest { labels: vec!["absent".into()], ..PruneRequest::default() };
    assert!(store.prune(labelled, Vec::new()).await.unwrap().changes.is_empty());
    assert_eq!(store.prune(PruneRequest::default(), Vec::new()).await.unwrap().changes.len(), 3);
}
