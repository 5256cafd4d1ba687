//! Values of flags that describe something: mounts, published ports, networks, secrets, placement.

use crate::api::{Filters, escape};
use crate::arguments::{MemoryBytes, csv_fields, pairs};
use crate::context::Context;
use crate::failure::Failure;
use crate::value::Value;

/// For a flag whose value is wrong by itself: that is told with the flag's name, before anything is asked.
pub fn checked<T>(parse: fn(&str) -> Result<T, Failure>) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |text| parse(text).map(|_| text.to_owned()).map_err(|failure| failure.message)
}

/// `--mount type=bind,src=/a,dst=/b,ro`.
pub fn mount(text: &str) -> Result<Value, Failure> {
    let mut mount = Value::map([("Type", Value::from("volume"))]);
    let mut labels = Vec::new();
    let mut driver_options = Vec::new();
    for field in csv_fields(text)? {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        let flag = || match value {
            None => Ok(true),
            Some(value) => truth(value).ok_or_else(|| Failure::new(format!("invalid value for {key}: {value}"))),
        };
        let need = || value.ok_or_else(|| Failure::new(format!("invalid field '{field}' must be a key=value pair")));
        match key.to_lowercase().as_str() {
            "type" => mount.set("Type", need()?.to_lowercase()),
            "source" | "src" => mount.set("Source", need()?),
            "target" | "dst" | "destination" => mount.set("Target", need()?),
            "readonly" | "ro" => mount.set("ReadOnly", flag()?),
            "consistency" => mount.set("Consistency", need()?.to_lowercase()),
            "bind-propagation" => mount.set("BindOptions.Propagation", need()?.to_lowercase()),
            "bind-nonrecursive" => mount.set("BindOptions.NonRecursive", flag()?),
            "volume-nocopy" => mount.set("VolumeOptions.NoCopy", flag()?),
            "volume-subpath" => mount.set("VolumeOptions.Subpath", need()?),
            "volume-label" => labels.push(need()?.to_owned()),
            "volume-driver" => mount.set("VolumeOptions.DriverConfig.Name", need()?),
            "volume-opt" => driver_options.push(need()?.to_owned()),
            "tmpfs-size" => {
                let size: MemoryBytes =
                    need()?.parse().map_err(|_| Failure::new(format!("invalid value for {key}")))?;
                mount.set("TmpfsOptions.SizeBytes", size.0);
            }
            "tmpfs-mode" => {
                let mode =
                    i64::from_str_radix(need()?, 8).map_err(|_| Failure::new(format!("invalid value for {key}")))?;
                mount.set("TmpfsOptions.Mode", mode);
            }
            _ => {
                need()?;
                return Err(Failure::new(format!("unexpected key '{key}' in '{field}'")));
            }
        }
    }
    if !labels.is_empty() {
        mount.set("VolumeOptions.Labels", pairs(&labels));
    }
    if !driver_options.is_empty() {
        mount.set("VolumeOptions.DriverConfig.Options", pairs(&driver_options));
    }
    if mount.text("Target").is_empty() {
        return Err(Failure::new("target is required"));
    }
    let kind = mount.text("Type").to_owned();
    for (member, owner) in [("BindOptions", "bind"), ("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs")] {
        if mount.has(member) && kind != owner {
            return Err(Failure::new(format!("cannot mix '{owner}-*' options with mount type '{kind}'")));
        }
    }
    Ok(mount)
}

fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "1" | "true" | "t" => Some(true),
        "0" | "false" | "f" => Some(false),
        _ => None,
    }
}

/// `-p 8080:80/udp`, ranges, or `mode=host,target=80,published=8080`. One entry a port.
pub fn ports(text: &str) -> Result<Vec<Value>, Failure> {
    if !text.contains('=') {
        return short_ports(text);
    }
    let mut port = Value::map([("Protocol", Value::from("tcp")), ("PublishMode", Value::from("ingress"))]);
    for field in csv_fields(text)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(Failure::new(format!("invalid field: {field}")));
        };
        match key {
            "protocol" if matches!(value, "tcp" | "udp" | "sctp") => port.set("Protocol", value),
            "protocol" => return Err(Failure::new(format!("invalid protocol value '{value}'"))),
            "mode" if matches!(value, "ingress" | "host") => port.set("PublishMode", value),
            "mode" => {
                return Err(Failure::new(format!(
                    "invalid publish mode value ({value}): must be either 'ingress' or 'host'"
                )));
            }
            "target" => port.set("TargetPort", number(value, "target")?),
            "published" => port.set("PublishedPort", number(value, "published")?),
            _ => return Err(Failure::new(format!("invalid field key: {key}"))),
        }
    }
    if port.uint("TargetPort") == 0 {
        return Err(Failure::new("missing mandatory field 'target'"));
    }
    Ok(vec![port])
}

fn number(text: &str, key: &str) -> Result<u64, Failure> {
    text.parse::<u16>()
        .map(u64::from)
        .map_err(|_| Failure::new(format!("invalid {key} port ({text}): value must be an integer")))
}

fn short_ports(text: &str) -> Result<Vec<Value>, Failure> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let range = |text: &str| -> Option<(u16, u16)> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first > 0 && first <= last).then_some((first, last))
    };
    let (published, target) = match ports.rsplit_once(':') {
        Some((published, _)) if published.contains(':') => {
            return Err(Failure::new("hostip is not supported"));
        }
        Some((published, target)) => (Some(published), target),
        None => (None, ports),
    };
    let target = range(target).ok_or_else(|| Failure::new(format!("invalid containerPort: {target}")))?;
    let published = match published {
        None | Some("") => None,
        Some(published) => {
            Some(range(published).ok_or_else(|| Failure::new(format!("invalid hostPort: {published}")))?)
        }
    };
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(Failure::new(format!("invalid proto: {protocol}")));
    }
    if published.is_some_and(|(first, last)| last - first != target.1 - target.0) {
        return Err(Failure::new(format!("invalid ranges specified for container and host Ports: {text}")));
    }
    let entry = |offset: u16| {
        let mut port =
            Value::map([("Protocol", Value::from(protocol)), ("TargetPort", Value::from(target.0 + offset))]);
        if let Some((first, _)) = published {
            port.set("PublishedPort", first + offset);
        }
        port.set("PublishMode", "ingress");
        port
    };
    Ok((0..=target.1 - target.0).map(entry).collect())
}

/// `--network name` or `--network name=net,alias=a,driver-opt=k=v`, with the network's id.
pub async fn network(context: &Context, text: &str) -> Result<Value, Failure> {
    let mut network = Value::empty_map();
    let mut name = text.to_owned();
    if text.contains('=') {
        let mut options = Vec::new();
        for field in csv_fields(text)? {
            match field.split_once('=') {
                Some(("name", value)) => name = value.to_owned(),
                Some(("alias", value)) => network.list_mut("Aliases").push(Value::from(value.to_lowercase())),
                Some(("driver-opt", value)) => options.push(value.to_owned()),
                _ => return Err(Failure::new(format!("invalid field key {field}"))),
            }
        }
        if !options.is_empty() {
            network.set("DriverOpts", pairs(&options));
        }
    }
    let id = network_id(context, &name).await?;
    let Value::Map(mut rest) = network else { return Ok(Value::Null) };
    rest.insert(0, ("Target".to_owned(), Value::from(id)));
    Ok(Value::Map(rest))
}

/// The id of a network by name, id or prefix.
pub async fn network_id(context: &Context, name: &str) -> Result<String, Failure> {
    let path = format!("/networks/{}", escape(name));
    Ok(context.client.get(&path, &[("scope", "swarm".to_owned())]).await?.text("Id").to_owned())
}

/// `--secret name` or `--secret source=name,target=file,uid=0,gid=0,mode=0400`; `--config` alike.
pub async fn dependencies(context: &Context, kind: &str, given: &[String]) -> Result<Vec<Value>, Failure> {
    let mut parsed = Vec::new();
    let mut filters = Filters::default();
    for text in given {
        let (source, file) = dependency(kind, text)?;
        filters.add("name", &source);
        parsed.push((source, file));
    }
    if parsed.is_empty() {
        return Ok(Vec::new());
    }
    let plural = format!("{kind}s");
    let known = context.client.get(&format!("/{plural}"), &filters.query()).await?;
    let (id_member, name_member) =
        if kind == "secret" { ("SecretID", "SecretName") } else { ("ConfigID", "ConfigName") };
    let mut references: Vec<Value> = Vec::new();
    for (source, file) in parsed {
        let found =
            known.list_itself().iter().find(|object| object.text("Spec.Name") == source || object.text("ID") == source);
        let Some(found) = found else { return Err(Failure::new(format!("{kind} not found: {source}"))) };
        if references.iter().any(|other| other.text("File.Name") == file.text("Name")) {
            return Err(Failure::new(format!("duplicate {kind} target for {source} not allowed")));
        }
        references.push(Value::map([
            ("File", file),
            (id_member, Value::from(found.text("ID"))),
            (name_member, Value::from(found.text("Spec.Name"))),
        ]));
    }
    Ok(references)
}

fn dependency(kind: &str, text: &str) -> Result<(String, Value), Failure> {
    let (mut source, mut target) = (text.to_owned(), None);
    let (mut uid, mut gid, mut mode) = ("0".to_owned(), "0".to_owned(), 0o444_u64);
    if text.contains('=') || text.contains(',') {
        source.clear();
        for field in csv_fields(text)? {
            match field.split_once('=') {
                Some(("source" | "src", value)) => source = value.to_owned(),
                Some(("target", value)) => target = Some(value.to_owned()),
                Some(("uid", value)) => uid = value.to_owned(),
                Some(("gid", value)) => gid = value.to_owned(),
                Some(("mode", value)) => {
                    mode = u64::from_str_radix(value, 8)
                        .map_err(|_| Failure::new(format!("invalid mode specified: {value:?} is no octal number")))?;
                }
                Some((key, _)) => return Err(Failure::new(format!("invalid field in {kind} request: {key}"))),
                None => return Err(Failure::new(format!("invalid field '{field}' must be a key=value pair"))),
            }
        }
    }
    if source.is_empty() {
        return Err(Failure::new("source is required"));
    }
    let name = match target {
        Some(target) => target,
        None if kind == "config" => format!("/{source}"),
        None => source.clone(),
    };
    let file = Value::map([
        ("Name", Value::from(name)),
        ("UID", Value::from(uid)),
        ("GID", Value::from(gid)),
        ("Mode", Value::from(mode)),
    ]);
    Ok((source, file))
}

/// `--placement-pref spread=node.labels.zone`.
pub fn preference(text: &str) -> Result<Value, Failure> {
    match text.split_once('=') {
        Some(("spread", descriptor)) => {
            Ok(Value::map([("Spread", Value::map([("SpreadDescriptor", Value::from(descriptor))]))]))
        }
        Some((strategy, _)) if !strategy.is_empty() => {
            Err(Failure::new(format!("unsupported placement preference {strategy} (only spread is supported)")))
        }
        _ => Err(Failure::new("placement preference must be of the format \"<strategy>=<arg>\"")),
    }
}

/// `--generic-resource gpu=2`.
pub fn generic_resource(text: &str) -> Result<Value, Failure> {
    let (kind, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::new(format!("invalid generic-resource format `{text}` expected `name=value`")))?;
    let value: i64 = value
        .parse()
        .map_err(|_| Failure::new(format!("invalid generic-resource `{text}`: {value:?} is not a number")))?;
    Ok(Value::map([("DiscreteResourceSpec", Value::map([("Kind", Value::from(kind)), ("Value", Value::from(value))]))]))
}

/// `--ulimit nofile=1024:2048`.
pub fn ulimit(text: &str) -> Result<Value, Failure> {
    let bad = || Failure::new(format!("invalid ulimit argument: {text}"));
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard): (i64, i64) = (soft.parse().map_err(|_| bad())?, hard.parse().map_err(|_| bad())?);
    Ok(Value::map([("Name", Value::from(name)), ("Hard", Value::from(hard)), ("Soft", Value::from(soft))]))
}

/// `--host name:ip` as the API has it: `ip name`.
pub fn host(text: &str) -> Result<Value, Failure> {
    match text.split_once(':') {
        Some((name, ip)) => Ok(Value::from(format!("{ip} {name}"))),
        None => Err(Failure::new(format!("bad format for add-host: {text:?}"))),
    }
}

/// `--env A=1`; a bare name takes the value of this process, or is left out.
pub fn environment(files: &[String], given: &[String]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(format!("open {file}: no such file or directory")),
            _ => Failure::new(format!("open {file}: {error}")),
        })?;
        all.extend(
            text.lines()
                .map(str::trim_start)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned),
        );
    }
    all.extend(given.iter().cloned());
    let mut result: Vec<String> = Vec::new();
    for entry in all {
        let entry = match entry.split_once('=') {
            Some(("", _)) => return Err(Failure::new(format!("invalid environment variable: {entry}"))),
            Some(_) => entry,
            None => match std::env::var(&entry) {
                Ok(value) => format!("{entry}={value}"),
                Err(_) => continue,
            },
        };
        let key = entry.split('=').next().unwrap_or("").to_owned();
        result.retain(|known| known.split('=').next() != Some(&key));
        result.push(entry);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_long_and_short() {
        let port = &ports("mode=host,published=8080,target=80,protocol=udp").unwrap()[0];
        assert_eq!(
            (port.text("PublishMode"), port.uint("PublishedPort"), port.text("Protocol")),
            ("host", 8080, "udp")
        );
        let range = ports("8000-8002:80-82").unwrap();
        assert_eq!(range.len(), 3);
        assert_eq!((range[2].uint("PublishedPort"), range[2].uint("TargetPort")), (8002, 82));
        assert!(!ports("80").unwrap()[0].has("PublishedPort"));
        for bad in ["", "a:b", "1-2:1-3", "mode=x,target=1", "mode=host", "1.2.3.4:1:2"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts() {
        let bind = mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rshared").unwrap();
        assert!(bind.bool("ReadOnly") && bind.text("BindOptions.Propagation") == "rshared");
        assert!(
            mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap().int("TmpfsOptions.SizeBytes") == 1 << 20
        );
        for bad in ["type=bind,src=/a", "dst=/a,nope=1", "type=bind,dst=/a,tmpfs-size=1"] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }
}
