use super::*;

fn flags(words: &[&str]) -> Flags {
    Flags::parse_from(std::iter::once("daemon").chain(words.iter().copied()))
}

fn with_file(words: &[&str], json: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.json");
    std::fs::write(&path, json).unwrap();
    let mut flags = flags(words);
    flags.config_file = Some(path);
    Config::load(flags)
}

#[test]
fn silence_means_the_defaults() {
    let config = with_file(&[], "").unwrap();
    assert_eq!(config.listen, [Listen::Unix("/run/skep/skep.sock".into())]);
    assert_eq!(config.data_root, Path::new("/var/lib/skep"));
    assert_eq!(config.log_level, "info");
}

#[test]
fn the_file_fills_what_flags_leave_open() {
    let config = with_file(&["-D"], r#"{"data-root": "/srv/skep", "labels": ["zone=a"]}"#).unwrap();
    assert_eq!(config.data_root, Path::new("/srv/skep"));
    assert_eq!(config.labels, [("zone".to_owned(), "a".to_owned())]);
    assert_eq!(config.log_level, "debug");
}

#[test]
fn one_setting_in_two_places_is_refused_by_name() {
    let error = with_file(&["--data-root", "/a"], r#"{"data-root": "/b"}"#).unwrap_err();
    assert!(error.to_string().contains("data-root"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let error = with_file(&[], r#"{"data-rot": "/b"}"#).unwrap_err();
    assert!(error.to_string().contains("data-rot"), "{error}");
}

#[test]
fn bad_values_name_their_flag() {
    for (words, name) in [
        (vec!["-H", "http://x"], "--host"),
        (vec!["-H", "tcp://127.0.0.1:2375"], "--host"),
        (vec!["-H", "tcp://127.0.0.1:x", "--insecure-tcp"], "--host"),
        (vec!["-l", "loud"], "--log-level"),
        (vec!["--log-format", "xml"], "--log-format"),
        (vec!["--label", "zone"], "--label"),
        (vec!["--runtime", "runc"], "--runtime"),
        (vec!["--data-root", "relative"], "--data-root"),
        (vec!["--tlsverify"], "--tlsverify"),
        (vec!["--tlscert", "/c"], "--tlscert"),
        (vec!["--image-prune-above", "101"], "--image-prune-above"),
        (vec!["--image-prune-age", "soon"], "--image-prune-age"),
    ] {
        let error = with_file(&words, "").unwrap_err();
        assert!(error.to_string().contains(name), "{words:?}: {error}");
    }
}

#[test]
fn pruning_has_a_threshold_and_an_age() {
    let policy = |words: &[&str]| with_file(words, "").unwrap().upkeep;
    assert_eq!(policy(&[]), UpkeepPolicy::default());
    let tight = policy(&["--image-prune-above", "60", "--image-prune-age", "30m"]);
    assert_eq!((tight.above_percent, tight.until_percent, tight.age_min_ms), (60, 55, 1_800_000));
    let always = policy(&["--image-prune-above", "0", "--image-prune-age", "0s"]);
    assert_eq!((always.above_percent, always.until_percent, always.age_min_ms), (0, 0, 0));
    let file = with_file(&[], r#"{"image-prune-above": 100, "image-prune-age": "2h"}"#).unwrap().upkeep;
    assert_eq!((file.above_percent, file.age_min_ms), (100, 7_200_000));
}

#[test]
fn plain_tcp_needs_its_own_word() {
    let config = with_file(&["-H", "tcp://127.0.0.1:2375", "--insecure-tcp"], "").unwrap();
    assert_eq!(config.listen, [Listen::Tcp("127.0.0.1:2375".into())]);
}
