//! Files of ours in a container: names and resolvers, secrets and configs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use skep_model::pb::types::{ContainerSpec, Driver, FileTarget, config_reference, secret_reference};
use skep_model::template::{self, Facts};
use skep_model::{Config, ConfigId, Refusal, Secret, SecretId, labels};

use super::task::facts;
use crate::controller::TaskOrder;
use crate::error::{ControllerError, RuntimeError};
use crate::spec::BoundFile;

/// Docker's choice where the host has no resolver that a container can reach.
const FALLBACK_RESOLVERS: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
/// What `hosts` says in every container that has a network of its own.
const USUAL_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                           ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
/// Where secrets appear unless their target is absolute.
const SECRETS_DIRECTORY: &str = "/run/secrets";
/// Most that all secrets and configs of a container may take.
const SECRETS_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Writes `hosts`, `hostname` and `resolv.conf`.
pub fn names(
    directory: &Path,
    spec: &ContainerSpec,
    hostname: &str,
    address: Option<Ipv4Addr>,
    host_network: bool,
) -> Result<Vec<BoundFile>, RuntimeError> {
    let mut hosts = if host_network {
        // A host without the file knows no names.
        fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        USUAL_HOSTS.to_owned()
    };
    if !hosts.is_empty() && !hosts.ends_with('\n') {
        hosts.push('\n');
    }
    if let Some(address) = address {
        hosts.push_str(&format!("{address}\t{hostname}\n"));
    }
    for line in &spec.hosts {
        hosts.push_str(&line.replacen(' ', "\t", 1));
        hosts.push('\n');
    }
    let resolvers = resolvers(spec, host_network)?;
    let mut files = Vec::new();
    for (name, text) in [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolvers)] {
        let source = directory.join(name);
        fs::write(&source, text).map_err(RuntimeError::file("write", &source))?;
        fs::set_permissions(&source, fs::Permissions::from_mode(0o644))
            .map_err(RuntimeError::file("change mode of", &source))?;
        files.push(BoundFile { source, target: format!("/etc/{name}"), read_only: spec.read_only });
    }
    Ok(files)
}

fn resolvers(spec: &ContainerSpec, host_network: bool) -> Result<String, RuntimeError> {
    let path = Path::new("/etc/resolv.conf");
    let mut host = fs::read_to_string(path).unwrap_or_default();
    if !host_network && host.lines().filter_map(resolver).all(|address| address == "127.0.0.53") {
        // systemd's own resolver answers on the host's loopback only; this file has the ones behind it.
        host = fs::read_to_string("/run/systemd/resolve/resolv.conf").unwrap_or(host);
    }
    let given = spec.dns_config.clone().unwrap_or_default();
    let mut text = String::new();
    for server in &given.nameservers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if given.nameservers.is_empty() {
        let reachable = |address: &&str| host_network || !(address.starts_with("127.") || *address == "::1");
        let servers: Vec<&str> = host.lines().filter_map(resolver).filter(reachable).collect();
        servers.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n")));
        if servers.is_empty() {
            text.push_str(FALLBACK_RESOLVERS);
        }
    }
    for (word, values) in [("search", &given.search), ("options", &given.options)] {
        if !values.is_empty() {
            text.push_str(&format!("{word} {}\n", values.join(" ")));
        } else if let Some(line) = host.lines().find(|line| line.starts_with(word)) {
            text.push_str(&format!("{line}\n"));
        }
    }
    Ok(text)
}

fn resolver(line: &str) -> Option<&str> {
    line.strip_prefix("nameserver")?.split_whitespace().next()
}

/// A file for a container: where it appears unless its target is absolute, what is asked of it, and what it holds.
pub struct Content<'a> {
    directory: &'static str,
    target: &'a FileTarget,
    data: Cow<'a, [u8]>,
    /// Labels of what it came from.
    labels: Option<&'a BTreeMap<String, String>>,
}

/// Secrets and configs as this task gets them, templates expanded. The spec is as stored.
pub fn contents<'a>(spec: &'a ContainerSpec, order: &'a TaskOrder) -> Result<Vec<Content<'a>>, Refusal> {
    let facts = facts(order);
    let expanded = template::container(spec, &facts).map_err(|error| Refusal::invalid(error.to_string()))?;
    let payloads = Payloads { spec, order, env: expanded.env };
    let mut contents = Vec::new();
    for reference in &spec.secrets {
        let secret = secret(order, &reference.secret_id).ok_or_else(|| missing("secret", &reference.secret_name))?;
        if let Some(secret_reference::Target::File(target)) = &reference.target {
            let named = format!("secret {}", reference.secret_name);
            let data = payload(&named, secret.spec.templating.as_ref(), &secret.spec.data, &facts, &payloads)?;
            let labels = secret.spec.annotations.as_ref().map(|annotations| &annotations.labels);
            contents.push(Content { directory: SECRETS_DIRECTORY, target, data, labels });
        }
    }
    for reference in &spec.configs {
        let config = config(order, &reference.config_id).ok_or_else(|| missing("config", &reference.config_name))?;
        match &reference.target {
            Some(config_reference::Target::File(target)) => {
                let named = format!("config {}", reference.config_name);
                let data = payload(&named, config.spec.templating.as_ref(), &config.spec.data, &facts, &payloads)?;
                let labels = config.spec.annotations.as_ref().map(|annotations| &annotations.labels);
                contents.push(Content { directory: "", target, data, labels });
            }
            // For credential specs, which are refused elsewhere.
            Some(config_reference::Target::Runtime(_)) => {}
            None => return Err(Refusal::invalid("malformed config reference, no target provided")),
        }
    }
    Ok(contents)
}

fn secret<'a>(order: &'a TaskOrder, id: &str) -> Option<&'a Secret> {
    SecretId::new(id).ok().and_then(|id| order.secrets.get(&id)).map(AsRef::as_ref)
}

fn config<'a>(order: &'a TaskOrder, id: &str) -> Option<&'a Config> {
    ConfigId::new(id).ok().and_then(|id| order.configs.get(&id)).map(AsRef::as_ref)
}

fn payload<'a>(
    named: &str,
    templating: Option<&Driver>,
    data: &'a [u8],
    facts: &Facts,
    payloads: &Payloads<'_>,
) -> Result<Cow<'a, [u8]>, Refusal> {
    let Some(driver) = templating else { return Ok(Cow::Borrowed(data)) };
    if driver.name != template::DRIVER {
        return Err(Refusal::invalid(format!("{named}: unrecognized template type {:?}", driver.name)));
    }
    let text = std::str::from_utf8(data).map_err(|_| Refusal::invalid(format!("{named}: a template must be UTF-8")))?;
    let expanded = template::expand(text, facts, Some(payloads));
    expanded.map(|text| Cow::Owned(text.into_bytes())).map_err(|error| Refusal::invalid(format!("{named}: {error}")))
}

/// What templates may ask for: only what the task itself refers to, as it was stored, and its environment.
struct Payloads<'a> {
    spec: &'a ContainerSpec,
    order: &'a TaskOrder,
    env: Vec<String>,
}

impl template::Lookup for Payloads<'_> {
    fn secret(&self, target: &str) -> Result<String, String> {
        let named = self.spec.secrets.iter().find(
            |reference| matches!(&reference.target, Some(secret_reference::Target::File(file)) if file.name == target),
        );
        let found = named.and_then(|reference| secret(self.order, &reference.secret_id));
        let found = found.ok_or_else(|| format!("secret target {target} not found"))?;
        String::from_utf8(found.spec.data.to_vec()).map_err(|_| format!("secret target {target} is not UTF-8"))
    }

    fn config(&self, target: &str) -> Result<String, String> {
        let named = self.spec.configs.iter().find(
            |reference| matches!(&reference.target, Some(config_reference::Target::File(file)) if file.name == target),
        );
        let found = named.and_then(|reference| config(self.order, &reference.config_id));
        let found = found.ok_or_else(|| format!("config target {target} not found"))?;
        String::from_utf8(found.spec.data.to_vec()).map_err(|_| format!("config target {target} is not UTF-8"))
    }

    fn env(&self, name: &str) -> String {
        let mut entries = self.env.iter().filter_map(|entry| entry.split_once('='));
        entries.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned()).unwrap_or_default()
    }
}

/// Writes what the task may read into memory that is never swapped out to a file of ours, and says where it appears.
pub fn secrets(
    run_directory: &Path,
    spec: &ContainerSpec,
    order: &TaskOrder,
) -> Result<Vec<BoundFile>, ControllerError> {
    let contents = contents(spec, order)?;
    if contents.is_empty() {
        return Ok(Vec::new());
    }
    let directory = mount_memory(run_directory)?;
    let write = |(index, content): (usize, Content<'_>)| {
        write_one(&directory, index, content.directory, content.target, &content.data)
    };
    contents.into_iter().enumerate().map(write).collect()
}

/// Writes what may change while the task runs and did; gives back the signals that the container is to get.
pub fn rewrite(
    run_directory: &Path,
    spec: &ContainerSpec,
    order: &TaskOrder,
) -> Result<BTreeSet<i32>, ControllerError> {
    let directory = secrets_directory(run_directory);
    let mut signals = BTreeSet::new();
    for (index, content) in contents(spec, order)?.into_iter().enumerate() {
        let source = directory.join(index.to_string());
        let Some(labels) = content.labels.filter(|labels| labels::reloads_live(labels)) else { continue };
        if fs::read(&source).map_err(RuntimeError::file("read", &source))? == *content.data {
            continue;
        }
        // The container has this very file bound: another in its place would not be seen.
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).open(&source)?;
            file.write_all(&content.data)?;
            file.set_len(content.data.len() as u64)
        };
        write().map_err(RuntimeError::file("write", &source))?;
        if let Some(signal) = labels.get(labels::RELOAD_SIGNAL) {
            signals.insert(labels::signal_number(signal)?);
        }
    }
    Ok(signals)
}

fn missing(kind: &str, name: &str) -> Refusal {
    Refusal::new(skep_model::Code::NotFound, format!("{kind} reference {name} has no {kind} on this node"))
}

fn secrets_directory(run_directory: &Path) -> PathBuf {
    run_directory.join("secrets")
}

fn mount_memory(run_directory: &Path) -> Result<PathBuf, RuntimeError> {
    let directory = secrets_directory(run_directory);
    release(run_directory)?;
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&directory)
        .map_err(RuntimeError::file("create", &directory))?;
    // Programs may be run from it: scripts are brought as configs.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let options = format!("mode=0700,size={SECRETS_MAX_BYTES}");
    mount(Some("tmpfs"), &directory, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(|error| RuntimeError::file("mount a tmpfs on", &directory)(error.into()))?;
    Ok(directory)
}

fn write_one(
    directory: &Path,
    index: usize,
    default: &str,
    target: &FileTarget,
    data: &[u8],
) -> Result<BoundFile, ControllerError> {
    let place = if target.name.starts_with('/') { target.name.clone() } else { format!("{default}/{}", target.name) };
    if target.name.is_empty() || place.split('/').any(|part| part == "..") {
        return Err(Refusal::invalid(format!("{:?} is not a file's place in a container", target.name)).into());
    }
    let number = |text: &str, what: &str| -> Result<u32, Refusal> {
        if text.is_empty() {
            Ok(0)
        } else {
            text.parse().map_err(|_| Refusal::invalid(format!("{place}: {what} {text:?} is not a number")))
        }
    };
    let (uid, gid) = (number(&target.uid, "uid")?, number(&target.gid, "gid")?);
    let source = directory.join(index.to_string());
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o400).open(&source)?;
        file.write_all(data)?;
        chown(&source, Some(uid), Some(gid))?;
        file.set_permissions(fs::Permissions::from_mode(target.mode & 0o7777))
    };
    write().map_err(RuntimeError::file("write", &source))?;
    Ok(BoundFile { source, target: place, read_only: true })
}

/// Forgets a container's secrets. None there is fine.
pub fn release(run_directory: &Path) -> Result<(), RuntimeError> {
    let directory = secrets_directory(run_directory);
    match umount2(&directory, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(error) => Err(RuntimeError::file("unmount", &directory)(error.into())),
    }
}
