//! Labels under `skep.`: what users ask of Skep beyond Docker, and what Skep keeps for itself in objects that every
//! manager replicates. The stock CLI passes all of them through.

use std::collections::BTreeMap;

use crate::refusal::Refusal;

/// On a secret or config that was replaced by a newer one: the name that both were created under.
pub const VERSION_OF: &str = "skep.version.of";
/// On a secret or config whose services do not all refer to it yet.
pub const VERSION_PENDING: &str = "skep.version.pending";
/// On a secret or config: `live` rewrites the file in running tasks instead of replacing the tasks.
pub const RELOAD: &str = "skep.reload";
/// Beside [`RELOAD`]: the signal that tasks get once the file is rewritten.
pub const RELOAD_SIGNAL: &str = "skep.reload.signal";
/// On a service: `true` moves its tasks when there is a better place for them.
pub const REBALANCE: &str = "skep.rebalance";
/// On a task that is to take over from another one of its slot: that task's id.
pub const MOVED_FROM: &str = "skep.moved-from";

/// Labels that only Skep sets.
const RESERVED: [&str; 3] = [VERSION_OF, VERSION_PENDING, MOVED_FROM];
/// Highest signal, and the lowest of those without a name of their own.
const SIGNAL_LAST: i32 = 64;
const REAL_TIME_FIRST: i32 = 34;
/// Signals by number, from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// Whether new data reaches running tasks.
pub fn reloads_live(labels: &BTreeMap<String, String>) -> bool {
    labels.get(RELOAD).is_some_and(|value| value == "live")
}

/// Whether tasks of the service may be moved.
pub fn rebalances(labels: &BTreeMap<String, String>) -> bool {
    labels.get(REBALANCE).is_some_and(|value| value == "true")
}

/// What a secret's or config's labels under `skep.` may say.
pub fn check_dependency(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    check_reserved(labels)?;
    if let Some(value) = labels.get(RELOAD).filter(|value| *value != "live") {
        return Err(Refusal::invalid(format!(
            "label {RELOAD}={value} is not known: use {RELOAD}=live, or leave it out"
        )));
    }
    match labels.get(RELOAD_SIGNAL) {
        Some(_) if !labels.contains_key(RELOAD) => {
            Err(Refusal::invalid(format!("label {RELOAD_SIGNAL} needs {RELOAD}=live beside it")))
        }
        Some(text) => signal_number(text).map(drop).map_err(|refusal| {
            Refusal::invalid(format!("label {RELOAD_SIGNAL}: {}: use a name such as SIGHUP", refusal.message))
        }),
        None => Ok(()),
    }
}

/// What a service's labels under `skep.` may say.
pub fn check_service(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    check_reserved(labels)?;
    match labels.get(REBALANCE).map(String::as_str) {
        None | Some("true" | "false") => Ok(()),
        Some(value) => Err(Refusal::invalid(format!("label {REBALANCE}={value} is not known: use true or false"))),
    }
}

fn check_reserved(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    match RESERVED.iter().find(|label| labels.contains_key(**label)) {
        Some(label) => Err(Refusal::invalid(format!("label {label} is set by Skep itself: leave it out"))),
        None => Ok(()),
    }
}

/// A signal's number by name (`SIGTERM`, `TERM`, `RTMIN+3`) or number.
pub fn signal_number(text: &str) -> Result<i32, Refusal> {
    let invalid = || Refusal::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=SIGNAL_LAST).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    for (word, base) in [("RTMIN", REAL_TIME_FIRST), ("RTMAX", SIGNAL_LAST)] {
        if let Some(rest) = short.strip_prefix(word) {
            let offset = if rest.is_empty() { Some(0) } else { offset(rest) };
            let number = offset.and_then(|offset| base.checked_add(offset));
            return number.filter(|number| (REAL_TIME_FIRST..=SIGNAL_LAST).contains(number)).ok_or_else(invalid);
        }
    }
    let position = SIGNALS.iter().position(|name| *name == short).and_then(|position| i32::try_from(position).ok());
    position.map(|position| position + 1).ok_or_else(invalid)
}

/// `+3` or `-3`.
fn offset(text: &str) -> Option<i32> {
    if text.starts_with(['+', '-']) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in
            [("HUP", 1), ("sigterm", 15), ("SIGSYS", 31), ("9", 9), ("64", 64), ("RTMIN+3", 37), ("SIGRTMAX-1", 63)]
        {
            assert_eq!(signal_number(text), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "HUPP", "RTMIN-1", "RTMAX+1", "RTMIN3", "RTMIN+é", "-1"] {
            assert!(signal_number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wrong_labels_are_refused_by_name() {
        let refused = |pairs: &[(&str, &str)]| check_dependency(&labels(pairs)).map_err(|refusal| refusal.message);
        assert_eq!(refused(&[("a", "b"), (RELOAD, "live"), (RELOAD_SIGNAL, "SIGHUP")]), Ok(()));
        for (pairs, message) in [
            (&[(RELOAD, "yes")][..], "label skep.reload=yes is not known: use skep.reload=live, or leave it out"),
            (&[(RELOAD_SIGNAL, "HUP")][..], "label skep.reload.signal needs skep.reload=live beside it"),
            (
                &[(RELOAD, "live"), (RELOAD_SIGNAL, "NOPE")][..],
                "label skep.reload.signal: invalid signal: NOPE: use a name such as SIGHUP",
            ),
            (&[(VERSION_OF, "key")][..], "label skep.version.of is set by Skep itself: leave it out"),
        ] {
            assert_eq!(refused(pairs), Err(message.to_owned()));
        }
        assert!(check_service(&labels(&[(REBALANCE, "true")])).is_ok());
        assert_eq!(
            check_service(&labels(&[(REBALANCE, "yes")])).map_err(|refusal| refusal.message),
            Err("label skep.rebalance=yes is not known: use true or false".to_owned())
        );
    }
}
