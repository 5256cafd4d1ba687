//! What the options of a log driver ask for, as Docker spells them. `json-file` and `local` are carried; here they differ
//! in their defaults alone: both write the lines of `shim::log`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use regex::Regex;
use skep_model::pb::types::Driver;
use skep_model::{Refusal, Task, template};

use super::record::Record;
use crate::config::LogLimits;
use crate::shim::protocol::LogInstructions;

/// The driver that keeps lines without being asked how, and its bounds (Docker's).
const LOCAL: &str = "local";
const LOCAL_LIMITS: LogLimits = LogLimits { max_size_bytes: 20 * 1024 * 1024, max_files: 5 };
/// Characters of an id in a tag.
const SHORT_ID: usize = 12;
/// What is added to lines.
const ATTRIBUTE_OPTIONS: [&str; 5] = ["env", "env-regex", "labels", "labels-regex", "tag"];

/// The driver that a task asks for, or its swarm.
pub fn driver(task: &Task) -> Option<&Driver> {
    task.log_driver.as_deref().or(task.spec.log_driver.as_ref())
}

/// Whether options can be carried out; what they add to lines is known once the container is made.
pub fn check(driver: Option<&Driver>) -> Result<(), Refusal> {
    limits(driver, LogLimits::default())?;
    for option in ["env-regex", "labels-regex"] {
        pattern(driver, option)?;
    }
    Ok(())
}

/// How the container's output is written to `path`.
pub fn instructions(
    path: PathBuf,
    driver: Option<&Driver>,
    record: &Record,
    defaults: LogLimits,
) -> Result<LogInstructions, Refusal> {
    let (LogLimits { max_size_bytes, max_files }, compress) = limits(driver, defaults)?;
    Ok(LogInstructions { path, max_size_bytes, max_files, compress, attributes: attributes(driver, record)? })
}

fn option<'a>(driver: Option<&'a Driver>, name: &str) -> &'a str {
    driver.and_then(|driver| driver.options.get(name)).map_or("", String::as_str)
}

/// What bounds the log, and whether its older files are compressed.
fn limits(driver: Option<&Driver>, defaults: LogLimits) -> Result<(LogLimits, bool), Refusal> {
    let name = driver.map(|driver| driver.name.as_str()).filter(|name| !name.is_empty()).unwrap_or("json-file");
    let mut limits = if name == LOCAL { LOCAL_LIMITS } else { defaults };
    let mut compress = name == LOCAL;
    for (key, value) in driver.iter().flat_map(|driver| &driver.options) {
        let wrong = |text: String| Refusal::invalid(format!("log option {key}: {text}"));
        match key.as_str() {
            "max-size" => limits.max_size_bytes = size(value).map_err(wrong)?,
            "max-file" => {
                let count = value.parse().ok().filter(|&count| count > 0);
                limits.max_files = count.ok_or_else(|| wrong(format!("max-file cannot be less than 1: {value:?}")))?;
            }
            "compress" => {
                let asked = bool_of(value);
                compress = asked.ok_or_else(|| wrong(format!("parsing {value:?}: neither true nor false")))?;
            }
            // How dockerd buffers: nothing that changes which lines are kept.
            "mode" | "max-buffer-size" => {}
            known if ATTRIBUTE_OPTIONS.contains(&known) => {}
            _ if name == LOCAL => {
                return Err(Refusal::invalid(format!("unknown log opt '{key}' for log driver {name}")));
            }
            _ => return Err(Refusal::invalid(format!("unknown log opt '{key}' for {name} log driver"))),
        }
    }
    let has_size = name == LOCAL || !option(driver, "max-size").is_empty();
    if compress && name == LOCAL && limits.max_files == 1 {
        return Err(Refusal::invalid("compression cannot be enabled when max file count is 1"));
    }
    if compress && (limits.max_files < 2 || !has_size) {
        let text = "compress cannot be true when max-file is less than 2 or max-size is not set";
        return Err(Refusal::invalid(text));
    }
    Ok((limits, compress))
}

/// Go's `strconv.ParseBool`.
fn bool_of(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `10m`, `1.5 GB`: thousands, as dockerd counts here; -1 for no bound. Errors in Docker's words.
fn size(text: &str) -> Result<u64, String> {
    if text == "-1" {
        return Ok(0);
    }
    let invalid = || format!("invalid size: '{text}'");
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches('b');
    let (number, power) = match number.char_indices().next_back() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => {
            let known = ['k', 'm', 'g', 't', 'p'].into_iter().zip(1..);
            (&number[..at], known.into_iter().find(|(one, _)| *one == unit).ok_or_else(invalid)?.1)
        }
        _ => (number, 0),
    };
    let number: f64 = number.trim_end().parse().map_err(|_| invalid())?;
    let bytes = number * 1000_f64.powi(power);
    // Beyond 2^53 bytes nobody logs; below, the value is exact enough to cut.
    if bytes.is_nan() || bytes >= 9e15 {
        return Err(invalid());
    }
    if bytes < 1.0 { Err("max-size must be a positive number".to_owned()) } else { Ok(bytes as u64) }
}

fn pattern(driver: Option<&Driver>, name: &str) -> Result<Option<Regex>, Refusal> {
    let text = option(driver, name);
    let compiled = (!text.is_empty()).then(|| Regex::new(text)).transpose();
    compiled.map_err(|error| Refusal::invalid(format!("log option {name}={text}: {error}")))
}

/// Labels and variables that the options name, and the tag. A variable goes before a label of its name.
fn attributes(driver: Option<&Driver>, record: &Record) -> Result<BTreeMap<String, String>, Refusal> {
    let labels = record.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let env = record.env.iter().filter_map(|pair| pair.split_once('='));
    let mut found = BTreeMap::new();
    pick(&mut found, labels, option(driver, "labels"), pattern(driver, "labels-regex")?.as_ref());
    pick(&mut found, env, option(driver, "env"), pattern(driver, "env-regex")?.as_ref());
    let tag = option(driver, "tag");
    if !tag.is_empty() {
        found.insert("tag".to_owned(), expand_tag(tag, record)?);
    }
    Ok(found)
}

fn pick<'a>(
    found: &mut BTreeMap<String, String>,
    all: impl Iterator<Item = (&'a str, &'a str)>,
    names: &str,
    pattern: Option<&Regex>,
) {
    for (name, value) in all {
        let named = names.split(',').any(|one| one == name);
        if named || pattern.is_some_and(|pattern| pattern.is_match(name)) {
            found.insert(name.to_owned(), value.to_owned());
        }
    }
}

fn expand_tag(tag: &str, record: &Record) -> Result<String, Refusal> {
    let short = |id: &str| id.chars().take(SHORT_ID).collect::<String>();
    let (id, image_id) = (short(&record.id), short(&record.image_id));
    let words: Vec<&str> = record.entrypoint.iter().chain(&record.arguments).map(String::as_str).collect();
    let command = words.join(" ");
    let fields = [
        ("ID", id.as_str()),
        ("FullID", &record.id),
        ("Name", &record.name),
        ("ImageID", &image_id),
        ("ImageFullID", &record.image_id),
        ("ImageName", &record.image),
        ("Command", &command),
        ("DaemonName", "docker"),
    ];
    template::expand_fields(tag, &fields).map_err(|error| Refusal::invalid(format!("log option tag={tag}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(name: &str, options: &[(&str, &str)]) -> Driver {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Driver { name: name.to_owned(), options }
    }

    fn bounds(name: &str, options: &[(&str, &str)]) -> Result<(u64, u32), String> {
        let limits = limits(Some(&driver(name, options)), LogLimits { max_size_bytes: 7, max_files: 2 });
        limits.map(|(limits, _)| (limits.max_size_bytes, limits.max_files)).map_err(|refusal| refusal.message)
    }

    #[test]
    fn older_files_are_compressed_as_dockerd_would() {
        let compressed = |name: &str, options: &[(&str, &str)]| {
            limits(Some(&driver(name, options)), LogLimits::default()).expect("taken").1
        };
        assert!(!compressed("json-file", &[("max-size", "1m")]));
        assert!(compressed("json-file", &[("max-size", "1m"), ("max-file", "2"), ("compress", "T")]));
        assert!(compressed("local", &[]));
        assert!(!compressed("local", &[("compress", "false")]));
    }

    #[test]
    fn sizes_and_numbers_bound_a_log() {
        assert_eq!(bounds("", &[]), Ok((7, 2)));
        assert_eq!(bounds("local", &[]), Ok((20 << 20, 5)));
        for (text, bytes) in [("2k", 2_000), ("1.5 MB", 1_500_000), ("10m", 10_000_000), ("99", 99), ("-1", 0)] {
            assert_eq!(bounds("json-file", &[("max-size", text)]), Ok((bytes, 2)), "{text}");
        }
        assert_eq!(bounds("local", &[("max-file", "3"), ("compress", "true")]), Ok((20 << 20, 3)));
        let refused = [
            ("json-file", ("max-size", "x"), "invalid size: 'x'"),
            ("json-file", ("max-size", "0"), "must be a positive number"),
            ("json-file", ("max-size", "1x"), "invalid size: '1x'"),
            ("json-file", ("max-file", "0"), "cannot be less than 1"),
            ("json-file", ("compress", "maybe"), "neither"),
            ("json-file", ("compress", "true"), "max-size is not set"),
            ("json-file", ("gelf-address", "x"), "unknown log opt 'gelf-address' for json-file log driver"),
            ("local", ("gelf-address", "x"), "unknown log opt 'gelf-address' for log driver local"),
        ];
        for (name, option, reason) in refused {
            let message = bounds(name, &[option]).expect_err("refused");
            assert!(message.contains(reason), "{option:?}: {message}");
        }
        assert!(check(Some(&driver("json-file", &[("labels-regex", "(")]))).is_err());
    }
}
