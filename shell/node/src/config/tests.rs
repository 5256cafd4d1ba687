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
    ] {
        let error = with_file(&words, "").unwrap_err();
        assert!(error.to_string().contains(name), "{words:?}: {error}");
    }
}

#[test]
fn plain_tcp_needs_its_own_word() {
    let config = with_file(&["-H", "tcp://127.0.0.1:2375", "--insecure-tcp"], "").unwrap();
    assert_eq!(config.listen, [Listen::Tcp("127.0.0.1:2375".into())]);
}
