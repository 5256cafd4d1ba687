//! Options of the `local` volume driver, as Docker's: what `mount` would be given (`type`, `device`, `o`).

use std::collections::BTreeMap;

use nix::mount::MsFlags;

/// Words of `mount` that are flags of the system call: (word, whether it sets them, flags).
const FLAGS: [(&str, bool, MsFlags); 26] = [
    ("defaults", true, MsFlags::empty()),
    ("ro", true, MsFlags::MS_RDONLY),
    ("rw", false, MsFlags::MS_RDONLY),
    ("nosuid", true, MsFlags::MS_NOSUID),
    ("suid", false, MsFlags::MS_NOSUID),
    ("nodev", true, MsFlags::MS_NODEV),
    ("dev", false, MsFlags::MS_NODEV),
    ("noexec", true, MsFlags::MS_NOEXEC),
    ("exec", false, MsFlags::MS_NOEXEC),
    ("sync", true, MsFlags::MS_SYNCHRONOUS),
    ("async", false, MsFlags::MS_SYNCHRONOUS),
    ("dirsync", true, MsFlags::MS_DIRSYNC),
    ("mand", true, MsFlags::MS_MANDLOCK),
    ("nomand", false, MsFlags::MS_MANDLOCK),
    ("noatime", true, MsFlags::MS_NOATIME),
    ("atime", false, MsFlags::MS_NOATIME),
    ("nodiratime", true, MsFlags::MS_NODIRATIME),
    ("diratime", false, MsFlags::MS_NODIRATIME),
    ("bind", true, MsFlags::MS_BIND),
    ("rbind", true, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
    ("relatime", true, MsFlags::MS_RELATIME),
    ("norelatime", false, MsFlags::MS_RELATIME),
    ("strictatime", true, MsFlags::MS_STRICTATIME),
    ("nostrictatime", false, MsFlags::MS_STRICTATIME),
    ("silent", true, MsFlags::MS_SILENT),
    ("loud", false, MsFlags::MS_SILENT),
];
/// File systems of other hosts, whose address may be given by name.
const OF_OTHER_HOSTS: [&str; 4] = ["nfs", "nfs4", "cifs", "smb3"];

/// What is mounted on a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalVolume {
    /// File system.
    pub kind: String,
    /// What is mounted.
    pub device: String,
    /// Of the system call.
    pub flags: MsFlags,
    /// What the file system itself understands.
    pub data: Vec<String>,
}

impl LocalVolume {
    /// The host in `addr=`, where the file system's driver would have it as a number.
    pub fn host(&self) -> Option<&str> {
        if !OF_OTHER_HOSTS.contains(&self.kind.as_str()) {
            return None;
        }
        self.data.iter().find_map(|option| option.strip_prefix("addr="))
    }
}

/// The options' meaning; `None` for a plain directory. An error says which option is wrong.
pub fn parse(options: &BTreeMap<String, String>) -> Result<Option<LocalVolume>, String> {
    if options.is_empty() {
        return Ok(None);
    }
    for name in options.keys() {
        match name.as_str() {
            "type" | "device" | "o" => {}
            "size" => return Err("volume option \"size\": this host has no quotas for directories".to_owned()),
            other => return Err(format!("invalid option: {other:?} (the local driver has type, device and o)")),
        }
    }
    let given = |name: &str| options.get(name).filter(|value| !value.is_empty());
    let required = |name: &str| given(name).cloned().ok_or_else(|| format!("missing required option: {name:?}"));
    let (kind, device) = (required("type")?, required("device")?);
    let mut volume = LocalVolume { kind, device, flags: MsFlags::empty(), data: Vec::new() };
    for word in given("o").into_iter().flat_map(|words| words.split(',')).filter(|word| !word.is_empty()) {
        match FLAGS.iter().find(|(known, ..)| *known == word) {
            Some((_, true, flags)) => volume.flags |= *flags,
            Some((_, false, flags)) => volume.flags -= *flags,
            None => volume.data.push(word.to_owned()),
        }
    }
    if volume.flags.contains(MsFlags::MS_BIND) && !volume.device.starts_with('/') {
        return Err(format!("device {:?} is not an absolute path", volume.device));
    }
    Ok(Some(volume))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<Option<LocalVolume>, String> {
        parse(&options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn options_mean_what_mount_understands() {
        assert_eq!(of(&[]), Ok(None));
        let memory = of(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=33,nosuid,rw")]);
        let memory = memory.expect("valid").expect("one");
        assert_eq!((memory.flags, memory.data), (MsFlags::MS_NOSUID, vec!["size=1m".to_owned(), "uid=33".to_owned()]));
        let bound = of(&[("type", "none"), ("device", "/srv"), ("o", "rbind,ro")]).expect("valid").expect("one");
        assert_eq!(bound.flags, MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY);
        let far = of(&[("type", "nfs"), ("device", ":/x"), ("o", "addr=files,nolock")]).expect("valid").expect("one");
        assert_eq!((far.host(), bound.host()), (Some("files"), None));
    }

    #[test]
    fn a_wrong_option_is_named() {
        for (options, word) in [
            (&[("kind", "tmpfs")][..], "\"kind\""),
            (&[("device", "/srv")], "missing required option: \"type\""),
            (&[("type", "none"), ("o", "bind")], "missing required option: \"device\""),
            (&[("size", "1g")], "quotas"),
            (&[("type", "none"), ("device", "srv"), ("o", "bind")], "absolute"),
        ] {
            let error = of(options).expect_err(word);
            assert!(error.contains(word), "{error}");
        }
    }
}
