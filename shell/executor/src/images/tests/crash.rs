//! What a crash leaves: whole images, nothing half.

use std::fs;

use super::super::ImportRequest;
use super::support::{Archive, is_root, reopen, store};

#[tokio::test]
async fn leftovers_are_removed_and_broken_images_dropped() {
    if !is_root("leftovers_are_removed_and_broken_images_dropped") {
        return;
    }
    let (directory, store) = store();
    let import = |name: &'static str, content: &'static [u8]| {
        let request = ImportRequest { reference: name.into(), ..ImportRequest::default() };
        let store = store.clone();
        async move { store.import(&Archive::default().file("f", content).finish()[..], request).await.unwrap() }
    };
    let whole = import("whole:1", b"1").await;
    let broken = import("broken:1", b"2").await;
    let root = directory.path().join("images");
    // In the middle of a download, of an unpacking, of writing the index, of making a container's file system.
    fs::write(root.join("tmp/900"), "half a blob").unwrap();
    fs::create_dir_all(root.join("tmp/901/diff/etc")).unwrap();
    fs::write(root.join("index.new"), "{\"format\":1,").unwrap();
    fs::create_dir_all(root.join("rootfs/c9/upper")).unwrap();
    let lost = &broken.diff_ids[0]["sha256:".len()..];
    fs::remove_dir_all(root.join("layers").join(lost)).unwrap();
    let store = reopen(directory.path());
    assert_eq!(store.list(), [whole]);
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(root.join("rootfs")).unwrap().count(), 0);
    // And it can come again.
    let request = ImportRequest { reference: "broken:1".into(), ..ImportRequest::default() };
    let again = store.import(&Archive::default().file("f", b"2").finish()[..], request).await.unwrap();
    assert_eq!(again.diff_ids, broken.diff_ids);
}

#[test]
fn an_unreadable_index_is_refused_not_emptied() {
    let (directory, store) = store();
    drop(store);
    let path = directory.path().join("images/index.json");
    fs::write(&path, "{\"format\":1,\"images\"").unwrap();
    let options = super::super::ImageOptions::default();
    assert!(super::super::ImageStore::open(&directory.path().join("images"), options).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"format\":1,\"images\"");
}
