//! Users and groups of an image: what `user`, `user:group` or numbers stand for in its own `/etc/passwd`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use skep_model::Refusal;

/// A longer file is cut off here.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Who a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// `HOME`.
    pub home: String,
}

/// The image's account files.
pub struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Reads them below `root`; missing ones are empty. Links are followed inside the image only.
    pub fn read(root: &Path) -> std::io::Result<Self> {
        Ok(Self { passwd: read_inside(root, "etc/passwd")?, group: read_inside(root, "etc/group")? })
    }

    /// Who `text` is; empty is root. `groups` are further ones, by name or number.
    pub fn resolve(&self, text: &str, groups: &[String]) -> Result<User, Refusal> {
        let (name, group) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let name = if name.is_empty() { "0" } else { name };
        let entry = self.passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
            fields.len() >= 6 && (fields[0] == name || (name.parse::<u32>().is_ok() && fields[2] == name))
        });
        let mut user = User { home: "/".to_owned(), ..User::default() };
        let mut login = None;
        match (&entry, name.parse()) {
            (Some(fields), _) => {
                user.uid = fields[2].parse().map_err(|_| unknown("user", name))?;
                user.gid = fields[3].parse().map_err(|_| unknown("user", name))?;
                user.home = fields[5].to_owned();
                login = Some(fields[0]);
            }
            (None, Ok(uid)) => user.uid = uid,
            (None, Err(_)) => return Err(unknown("user", name)),
        }
        match group {
            Some(group) => user.gid = self.gid(group)?,
            // Only a bare user is in the groups that list it, as for a login.
            None => user.additional_gids = login.map(|login| self.groups_of(login)).unwrap_or_default(),
        }
        for group in groups {
            user.additional_gids.push(self.gid(group)?);
        }
        // The primary group too: otherwise a process that drops it could pass for a stranger to it (CVE-2022-36109).
        user.additional_gids.push(user.gid);
        user.additional_gids.sort_unstable();
        user.additional_gids.dedup();
        Ok(user)
    }

    fn gid(&self, name: &str) -> Result<u32, Refusal> {
        let entry = self.group.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name);
        let number = entry.and_then(|fields| fields.get(2)?.parse().ok());
        number.or_else(|| name.parse().ok()).ok_or_else(|| unknown("group", name))
    }

    fn groups_of(&self, login: &str) -> Vec<u32> {
        let fields = self.group.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let mine =
            fields.filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|one| one == login)));
        mine.filter_map(|fields| fields[2].parse().ok()).collect()
    }
}

fn unknown(kind: &str, name: &str) -> Refusal {
    let file = if kind == "user" { "passwd" } else { "group" };
    Refusal::invalid(format!("unable to find {kind} {name}: no matching entries in {file} file"))
}

/// Opens a path as the container would see it.
pub fn open_inside(root: &Path, path: &str, flags: OFlag) -> nix::Result<File> {
    let root = File::open(root).map_err(|error| nix::Error::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let below = path.trim_start_matches('/');
    openat2(&root, if below.is_empty() { "." } else { below }, how).map(File::from)
}

fn read_inside(root: &Path, path: &str) -> std::io::Result<String> {
    match open_inside(root, path, OFlag::O_RDONLY) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:Web:/var/www:/bin/false\n".to_owned(),
            group: "root:x:0:\nweb:x:33:\nlog:x:44:web,other\n".to_owned(),
        }
    }

    #[test]
    fn names_and_numbers_resolve() {
        let resolve = |text: &str| accounts().resolve(text, &[]).expect("resolves");
        assert_eq!(resolve("").home, "/root");
        let web = resolve("web");
        assert_eq!((web.uid, web.gid, web.additional_gids.as_slice()), (33, 33, &[33, 44][..]));
        assert_eq!(resolve("33").home, "/var/www");
        let other = resolve("1000:log");
        assert_eq!((other.uid, other.gid, other.home.as_str()), (1000, 44, "/"));
        assert_eq!(other.additional_gids, [44]);
        let more = accounts().resolve("1000", &["log".to_owned(), "7".to_owned()]).expect("resolves");
        assert_eq!(more.additional_gids, [0, 7, 44]);
    }

    #[test]
    fn an_unknown_name_is_refused_in_dockers_words() {
        let refusal = accounts().resolve("nobody", &[]).expect_err("unknown");
        assert_eq!(refusal.message, "unable to find user nobody: no matching entries in passwd file");
    }

    #[test]
    fn links_stay_inside_the_image() {
        let root = tempfile::tempdir().expect("directory");
        std::fs::create_dir(root.path().join("etc")).expect("made");
        std::os::unix::fs::symlink("/etc/hostname", root.path().join("etc/passwd")).expect("linked");
        assert_eq!(read_inside(root.path(), "etc/passwd").expect("nothing"), "");
    }
}
