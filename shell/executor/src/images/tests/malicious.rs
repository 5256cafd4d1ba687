//! Archives that try to get out, or to fill the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;

use tempfile::TempDir;

use super::super::unpack::{Limits, Purpose, UnpackError, unpack};
use super::support::{Archive, is_root, with_long_name};

struct Ground {
    directory: TempDir,
}

impl Ground {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/victim"), "untouched").unwrap();
        Self { directory }
    }

    fn unpack(&self, archive: &[u8]) -> Result<(), UnpackError> {
        self.unpack_within(archive, Limits::default())
    }

    fn unpack_within(&self, archive: &[u8], limits: Limits) -> Result<(), UnpackError> {
        let result = unpack(archive, &self.directory.path().join("root"), Purpose::Layer, limits).map(drop);
        let names: Vec<_> =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "something was made outside: {names:?}");
        let victim = self.directory.path().join("outside/victim");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1);
        assert_eq!(fs::read_dir(self.directory.path().join("outside")).unwrap().count(), 1);
        result
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("root").join(name)
    }
}

#[test]
fn dots_are_refused() {
    for name in ["../escaped", "a/../../escaped", "..", "/../escaped"] {
        let ground = Ground::new();
        let error = ground.unpack(&Archive::default().file(name, b"x").finish()).unwrap_err();
        assert!(matches!(error, UnpackError::Refused { .. }), "{name}: {error}");
    }
}

#[test]
fn absolute_names_stay_inside() {
    if !is_root("absolute_names_stay_inside") {
        return;
    }
    let ground = Ground::new();
    ground.unpack(&Archive::default().file("/etc/passwd", b"inside").finish()).unwrap();
    assert_eq!(fs::read_to_string(ground.path("etc/passwd")).unwrap(), "inside");
}

#[test]
fn links_lead_nowhere_else() {
    if !is_root("links_lead_nowhere_else") {
        return;
    }
    let ground = Ground::new();
    let outside = ground.directory.path().join("outside").to_string_lossy().into_owned();
    // A link out, absolute and relative, then a file written through it.
    for target in [outside.as_str(), "../outside", "../../../../../../../../../../tmp"] {
        let ground = Ground::new();
        let archive = Archive::default().symlink("door", target).file("door/victim", b"overwritten").finish();
        // What the link names does not exist inside: refused, or made inside; never outside.
        let _ = ground.unpack(&archive);
        let archive = Archive::default().symlink("victim", &format!("{target}/victim")).file("victim", b"new").finish();
        ground.unpack(&archive).unwrap();
        assert_eq!(fs::read_to_string(ground.path("victim")).unwrap(), "new");
    }
    // A link to a directory of the same archive is followed, inside.
    let archive =
        Archive::default().directory("usr/lib", 0o755).symlink("lib", "/usr/lib").file("lib/x.so", b"so").finish();
    ground.unpack(&archive).unwrap();
    assert_eq!(fs::read_to_string(ground.path("usr/lib/x.so")).unwrap(), "so");
}

#[test]
fn hard_links_stay_inside() {
    if !is_root("hard_links_stay_inside") {
        return;
    }
    let ground = Ground::new();
    let outside = ground.directory.path().join("outside/victim").to_string_lossy().into_owned();
    for archive in [
        Archive::default().hard_link("mine", "../outside/victim").finish(),
        Archive::default().hard_link("mine", &outside).finish(),
        Archive::default().symlink("door", "../outside").hard_link("mine", "door/victim").finish(),
        Archive::default().directory("d", 0o755).hard_link("mine", "d").finish(),
    ] {
        assert!(ground.unpack(&archive).is_err());
        assert!(!ground.path("mine").exists());
    }
    ground.unpack(&Archive::default().file("a", b"1").hard_link("b", "/a").finish()).unwrap();
    assert_eq!(fs::metadata(ground.path("b")).unwrap().ino(), fs::metadata(ground.path("a")).unwrap().ino());
}

#[test]
fn devices_are_not_made() {
    if !is_root("devices_are_not_made") {
        return;
    }
    let ground = Ground::new();
    ground.unpack(&Archive::default().device("dev/sda").file("after", b"x").finish()).unwrap();
    assert!(!ground.path("dev/sda").exists());
    assert!(ground.path("after").exists());
}

#[test]
fn whiteouts_cannot_name_the_parent() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        let ground = Ground::new();
        let result = ground.unpack(&Archive::default().file(name, b"").finish());
        assert!(matches!(result, Err(UnpackError::Refused { .. })), "{name}: {result:?}");
    }
}

#[test]
fn bombs_meet_limits() {
    let limits = Limits { entries: 10, bytes: 1000 };
    let many = (0..11).fold(Archive::default(), |archive, number| archive.symlink(&format!("l{number}"), "x")).finish();
    let large = Archive::default().file("a", &[0; 600]).file("b", &[0; 600]).finish();
    // Claims a content that it does not have: refused by the claim, before the disk fills.
    let mut claim = Archive::default().file("a", b"").finish();
    let mut header = tar::Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_size(1 << 40);
    header.set_mode(0o644);
    header.set_cksum();
    claim[..512].copy_from_slice(header.as_bytes());
    for archive in [many, large, claim] {
        if !is_root("bombs_meet_limits") {
            return;
        }
        let error = Ground::new().unpack_within(&archive, limits).unwrap_err();
        assert!(matches!(error, UnpackError::Limit { .. }), "{error}");
    }
}

#[test]
fn endless_padding_and_huge_extensions_are_refused() {
    let limits = Limits { entries: 10, bytes: 1000 };
    let mut padded = Archive::default().finish();
    padded.resize(1 << 20, 0);
    assert!(Ground::new().unpack_within(&padded, limits).is_err());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 33);
    header.set_cksum();
    let error = Ground::new().unpack(header.as_bytes()).unwrap_err();
    assert!(matches!(error, UnpackError::Limit { .. }), "{error}");
}

#[test]
fn garbage_is_told_apart_from_truncation() {
    let ground = Ground::new();
    assert!(matches!(ground.unpack(&[7; 2048]), Err(UnpackError::NotTar)));
    assert!(matches!(ground.unpack(&[7; 100]), Err(UnpackError::Truncated)));
    if is_root("garbage_is_told_apart_from_truncation") {
        let whole = Archive::default().file("a", &[1; 2000]).finish();
        assert!(ground.unpack(&whole[..1000]).is_err());
    }
}

#[test]
fn long_names_arrive_whole() {
    if !is_root("long_names_arrive_whole") {
        return;
    }
    let ground = Ground::new();
    let name = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    ground.unpack(&with_long_name(&name, b"content")).unwrap();
    assert_eq!(fs::read_to_string(ground.path(&name)).unwrap(), "content");
}
