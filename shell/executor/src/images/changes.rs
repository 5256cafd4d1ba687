//! The Dockerfile instructions that `docker import --change` understands, applied to an image's configuration.

use super::config::RunConfig;
use super::error::ImageError;

const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Applies instructions such as `CMD ["/web"]` or `ENV A=1 B=2`, in order.
pub fn apply(config: &mut RunConfig, changes: &[String]) -> Result<(), ImageError> {
    for change in changes.iter().flat_map(|change| change.lines()).map(str::trim).filter(|line| !line.is_empty()) {
        apply_one(config, change)?;
    }
    Ok(())
}

fn apply_one(config: &mut RunConfig, change: &str) -> Result<(), ImageError> {
    let (instruction, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
    let instruction = instruction.to_ascii_uppercase();
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(ImageError::InvalidChange(format!("{instruction} requires at least one argument")));
    }
    match instruction.as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "USER" => config.user = Some(rest.to_owned()),
        "WORKDIR" => config.working_dir = Some(working_dir(config.working_dir.as_deref(), rest)),
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                config.exposed_ports.get_or_insert_default().insert(exposed_port(port)?, Default::default());
            }
        }
        "VOLUME" => {
            let volumes = json_list(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            config.volumes.get_or_insert_default().extend(volumes.into_iter().map(|path| (path, Default::default())));
        }
        "ENV" => {
            let env = config.env.get_or_insert_default();
            for (key, value) in pairs(&instruction, rest)? {
                env.retain(|entry| entry.split('=').next() != Some(&key));
                env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => config.labels.get_or_insert_default().extend(pairs(&instruction, rest)?),
        _ => return Err(ImageError::InvalidChange(format!("{instruction} is not a valid change command"))),
    }
    Ok(())
}

/// `["a", "b"]` as it is; anything else runs in a shell.
fn command(text: &str) -> Vec<String> {
    json_list(text).unwrap_or_else(|| SHELL.iter().map(|word| (*word).to_owned()).chain([text.to_owned()]).collect())
}

fn json_list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

fn working_dir(current: Option<&str>, path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{}/{path}", current.unwrap_or_default().trim_end_matches('/'))
    }
}

fn exposed_port(text: &str) -> Result<String, ImageError> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let known = matches!(protocol, "tcp" | "udp" | "sctp");
    match port.parse::<u16>() {
        Ok(port) if port > 0 && known => Ok(format!("{port}/{protocol}")),
        _ => Err(ImageError::InvalidChange(format!("invalid EXPOSE {text:?}: it is a port and /tcp, /udp or /sctp"))),
    }
}

/// `a=1 b="two words"`, or the old form `a one value`.
fn pairs(instruction: &str, text: &str) -> Result<Vec<(String, String)>, ImageError> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        return match text.split_once(char::is_whitespace) {
            Some((key, value)) => Ok(vec![(key.to_owned(), value.trim().to_owned())]),
            None => Err(ImageError::InvalidChange(format!("{instruction} must have two arguments"))),
        };
    }
    words(text)
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(ImageError::InvalidChange(format!("can't find = in {word:?}. Must be of the form: name=value"))),
        })
        .collect()
}

/// Words with single and double quotes and backslashes taken off.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some(open), close) if open == close => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str]) -> RunConfig {
        let mut config = RunConfig::default();
        apply(&mut config, &changes.iter().map(|change| (*change).to_owned()).collect::<Vec<_>>()).unwrap();
        config
    }

    #[test]
    fn applies_each_instruction() {
        let config = applied(&[
            r#"CMD ["/web", "serve"]"#,
            "entrypoint exec /init",
            r#"ENV A=1 B="two words" C=three\ words"#,
            "ENV A again",
            "WORKDIR /srv",
            "WORKDIR app",
            "EXPOSE 80 53/udp",
            "USER 1000:1000",
            "LABEL a=b 'c d'=e",
            "VOLUME /data /logs",
            "STOPSIGNAL SIGINT",
        ]);
        assert_eq!(config.cmd.unwrap(), ["/web", "serve"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "exec /init"]);
        assert_eq!(config.env.unwrap(), ["B=two words", "C=three words", "A=again"]);
        assert_eq!(config.working_dir.unwrap(), "/srv/app");
        assert_eq!(config.exposed_ports.unwrap().into_keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(
            config.labels.unwrap().into_iter().collect::<Vec<_>>(),
            [("a".into(), "b".into()), ("c d".into(), "e".into())]
        );
        assert_eq!(config.volumes.unwrap().into_keys().collect::<Vec<_>>(), ["/data", "/logs"]);
        assert_eq!(config.stop_signal.unwrap(), "SIGINT");
    }

    #[test]
    fn refuses_what_it_does_not_carry_out() {
        for change in ["RUN ls", "CMD", "EXPOSE http", "ENV A", "LABEL a=b c"] {
            assert!(apply(&mut RunConfig::default(), &[change.to_owned()]).is_err(), "{change}");
        }
    }
}
