//! What a task sees of its world, field by field of the container spec: the same under Skep as under Docker 20.10.
//!
//! Both run the same services; each task prints what it sees (`look.sh`), and the lines are compared. Each difference
//! that is meant has its reason in `ALLOWED`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::clients::verdict::{Allowed, Verdict};
use crate::engine::{self, Engine};
use crate::support::{Said, Swarm, wait_until};

const LOOK: &str = include_str!("look.sh");

/// Flags of `service create`, each a service of its own.
const FLAGS: &[&str] = &[
    "",
    "--cap-add NET_ADMIN",
    "--cap-add ALL",
    "--cap-drop ALL",
    "--cap-drop CHOWN --cap-drop MKNOD",
    "--cap-add SYS_ADMIN --user 1000",
    "--config source=c1,target=/c,uid=1,gid=2,mode=0440",
    "--config c1",
    "--config source=script,target=/c,mode=0755",
    "--secret source=script,target=/c,mode=0755",
    "--dns 192.0.2.53 --dns-option ndots:2 --dns-search example.org",
    "--env A=1 --env B= --env PATH=/bin",
    "--env NODE={{.Node.Hostname}} --env SLOT={{.Task.Slot}} --env NAME={{.Service.Name}}",
    "--group 100 --group 200",
    "--host db:192.0.2.7 --host web:192.0.2.8",
    "--init",
    "--limit-cpu 0.5",
    "--reserve-cpu 0.25",
    "--limit-memory 64m",
    "--limit-memory 64m --reserve-memory 32m",
    "--limit-pids 100",
    "--log-driver json-file --log-opt bogus=1",
    "--log-driver json-file --log-opt compress=true",
    "--log-driver json-file --log-opt compress=x",
    "--log-driver json-file --log-opt max-size=1.5m --log-opt max-file=2 --log-opt compress=true",
    "--log-driver json-file --log-opt max-file=0",
    "--log-driver json-file --log-opt max-size=x",
    "--log-driver json-file --log-opt max-size=0",
    "--log-driver json-file --log-opt tag={{.ImageName}}/{{.DaemonName}}",
    "--log-driver json-file --log-opt tag={{.Nothing}}",
    "--log-driver json-file --log-opt env=A,NONE --log-opt env-regex=^B --env A=1 --env BB=2 --env C=3",
    "--log-driver json-file --log-opt labels=a,b --log-opt labels-regex=^cd --container-label a=1 --container-label cd=2",
    "--log-driver json-file --log-opt labels-regex=^cd --container-label cd=2",
    "--log-driver json-file --log-opt env-regex=( --env A=1",
    "--log-driver local",
    "--log-driver local --log-opt bogus=1",
    "--log-driver local --log-opt max-file=1",
    "--log-driver local --log-opt tag=x",
    "--log-driver local --log-opt max-size=100k",
    "--log-driver none",
    "--mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770",
    "--mount type=tmpfs,target=/t",
    "--mount type=bind,source=<files>,target=/t",
    "--mount type=bind,source=<files>,target=/t,readonly",
    "--mount type=bind,source=<files>,target=/t,bind-propagation=rslave",
    "--mount type=bind,source=<files>,target=/t,bind-propagation=shared",
    "--mount type=bind,source=<files>,target=/t,bind-nonrecursive=true",
    "--mount type=volume,source=v1,target=/v",
    "--mount type=volume,source=v2,target=/etc",
    "--mount type=volume,source=v3,target=/etc,volume-nocopy",
    "--mount type=volume,source=v,target=/v",
    "--mount type=volume,source=a/b,target=/v",
    "--mount target=/anonymous",
    "--mount type=volume,source=v4,target=/v,readonly",
    "--read-only",
    "--read-only --mount type=tmpfs,target=/tmp",
    "--secret s1",
    "--secret source=s1,target=other,uid=1,gid=2,mode=0400",
    "--secret source=s1,target=/other",
    "--sysctl net.core.somaxconn=9",
    "--tty",
    "--ulimit nofile=1024:2048 --ulimit core=0",
    "--user 1000:1000",
    "--user 1000",
    "--user root",
    "--user 0:100",
    "--workdir relative",
    "--workdir /made/here",
    "--network host",
    "--stop-signal SIGINT",
    "--user 1000 --cap-add NET_BIND_SERVICE",
    "--user 1000 --secret s1 --config c1",
];

/// The same for an image that has users and says much of its own: see `IMAGE`.
const IMAGE_FLAGS: &[&str] = &[
    "",
    "--user 0",
    "--user 1000",
    "--user 1000:50",
    "--user web:staff",
    "--user other",
    "--user nobody-here",
    "--user web:nogroup-here",
    "--group staff",
    "--group nogroup-here",
    "--workdir /made",
    "--env A=spec --env B",
    "--env HOME=/elsewhere",
    "--mount type=volume,source=vv,target=/data",
    "--mount type=volume,source=ww,target=/data,volume-nocopy",
    "--mount type=tmpfs,target=/data",
    "--mount type=tmpfs,target=/data,tmpfs-mode=0700",
    "--mount type=bind,source=<files>,target=/link/inside",
    "--mount type=tmpfs,target=/data/deep/er --mount type=volume,source=xx,target=/data",
    "--read-only",
    "--no-healthcheck",
    "--cap-drop ALL --cap-add SETUID",
];

/// What the image says; its entry point is a shell, which reads the look as its argument.
const IMAGE: &[&str] = &[
    "USER web",
    "WORKDIR /srv/app",
    "ENV A=image B=image",
    "VOLUME /data",
    "EXPOSE 80",
    "LABEL who=image",
    "ENTRYPOINT [\"sh\", \"-c\"]",
    "CMD [\"exit 3\"]",
];

/// Flags, section and line, reason. `*` stands for anything.
const ALLOWED: &[Allowed] = &[
    ("*", "mount: /proc/interrupts *", "masked by newer engines, too"),
    ("*", "mount: / *", "options of the overlay"),
    ("*", "mount: /sys ro,*", "the mount is read-only; that of the file system itself is the runtime's choice"),
    ("*", "mount: /sys/fs/cgroup/* rw,*", "a read-only mount lies on it: see `own limit`"),
    ("*", "ls -ld: * /sys/fs/cgroup", "a directory of mounts, each read-only"),
    ("*", "/etc/resolv.conf: ", "an empty line"),
    ("*--config *", "mount: /c*", "no devices and no other user's programs in it"),
    ("*--secret *", "mount: /*", "no devices and no other user's programs in it"),
    ("*--reserve-memory *", "cgroup: memory/memory.soft_limit_in_bytes *", "what is reserved is kept for the task"),
    ("*tmpfs*", "mount: /*", "the mode that the file system would have anyway is said"),
    ("*tmpfs-mode=0700", "root: * data", "the mode that was asked for, as in newer engines"),
    ("--group nogroup-here", "end: *", "written as newer engines do"),
    ("*--log-opt *", "end: *", "options are read before the container is made: `Rejected`, not `Failed`"),
    ("--log-driver local --log-opt tag=x", "*", "newer engines take it, too"),
    ("--network host", "interface: docker*", "the bridges of the host"),
    ("--cap-add ALL", "end: *", "what this host cannot give is named"),
    ("--init", "first process: *", "each has an init of its own"),
    ("--init", "mount: /sbin/docker-init *", "each has an init of its own"),
    ("--init", "root: * sbin", "each has an init of its own"),
];

#[test]
fn a_task_sees_the_same_world_as_with_docker() {
    if !engine::is_installed() {
        return;
    }
    let Some(mut swarm) = Swarm::start(1) else { return };
    let number = swarm.add_bare_host();
    let docker = Engine::start(&swarm, number);
    swarm.load_busybox([1]);
    let files = swarm.lab.directory().join("files");
    std::fs::create_dir(&files).expect("a directory");
    std::fs::write(files.join("text"), "text\n").expect("a file");
    std::fs::write(files.join("script"), "#!/bin/sh\necho ran\n").expect("a file");
    let files = files.display().to_string();
    let archive = image(&swarm);
    let docker = Side {
        address: swarm.address(number),
        hostname: swarm.host(number).hostname().to_owned(),
        run: Box::new(|words| docker.docker(words)),
    };
    let skep = Side {
        address: swarm.address(1),
        hostname: swarm.host(1).hostname().to_owned(),
        run: Box::new(|words| swarm.docker(1, words)),
    };
    for side in [&docker, &skep] {
        side.prepare(&files, &archive);
    }
    let mut verdict = Verdict::new(ALLOWED);
    for (number, (flags, _)) in all().enumerate() {
        let [docker, skep] = [&docker, &skep].map(|side| side.seen(number, flags));
        for (line, how) in differences(&docker, &skep) {
            verdict.note(flags, &line, format!("[{flags}] {how} {line}"));
        }
    }
    verdict.pronounce();
}

/// Every service, and whether it is one of the image that says much.
fn all() -> impl Iterator<Item = (&'static str, bool)> {
    FLAGS.iter().map(|flags| (*flags, false)).chain(IMAGE_FLAGS.iter().map(|flags| (*flags, true)))
}

/// Busybox with users, and a directory that belongs to one.
fn image(swarm: &Swarm) -> String {
    let directory = swarm.lab.directory();
    let (tree, archive) = (directory.join("people"), directory.join("people.tar"));
    let script = "cp -a ../busybox/. . && mkdir -p data/deep home/web srv && echo kept > data/deep/file && chmod 750 data && \
                  chown -R 1000:50 data home/web && ln -s srv link && \
                  printf 'root:x:0:0::/root:/bin/sh\\nweb:x:1000:1000::/home/web:/bin/sh\\nother:x:7:8::/:/bin/sh\\n' > etc/passwd && \
                  printf 'root:x:0:\\nweb:x:1000:\\nstaff:x:50:web,other\\nmore:x:60:web\\n' > etc/group && \
                  tar -cf ../people.tar .";
    std::fs::create_dir(&tree).expect("a directory");
    let made = Command::new("sh").args(["-c", script]).current_dir(&tree).status().expect("sh runs");
    assert!(made.success());
    archive.display().to_string()
}

type Run<'a> = dyn Fn(&[&str]) -> Said + 'a;

/// A daemon under the stock client.
struct Side<'a> {
    address: String,
    hostname: String,
    run: Box<Run<'a>>,
}

impl Side<'_> {
    fn prepare(&self, files: &str, archive: &str) {
        let changes = IMAGE.iter().flat_map(|change| ["-c", change]);
        let import: Vec<&str> = ["import"].into_iter().chain(changes).chain([archive, "people:1"]).collect();
        (self.run)(&import).expect();
        (self.run)(&["swarm", "init", "--advertise-addr", &self.address]).expect();
        for (kind, name, file) in [
            ("secret", "s1", "text"),
            ("config", "c1", "text"),
            ("secret", "script", "script"),
            ("config", "script", "script"),
        ] {
            (self.run)(&[kind, "create", name, &format!("{files}/{file}")]).expect();
        }
        for (number, (flags, is_image)) in all().enumerate() {
            let filled = flags.replace("<files>", files);
            let name = format!("look{number}");
            let mut words = vec!["service", "create", "--detach", "--no-resolve-image", "--restart-condition", "none"];
            words.extend(["--name", &name]);
            if !flags.contains("--network host") {
                words.extend(["--hostname", "box"]);
            }
            words.extend(filled.split_whitespace());
            words.extend(if is_image { &["people:1", LOOK][..] } else { &["busybox", "sh", "-c", LOOK] });
            (self.run)(&words).expect();
        }
    }

    /// How the task of a service ended and what it printed, with what must differ made the same.
    fn seen(&self, number: usize, flags: &str) -> Vec<String> {
        let name = format!("look{number}");
        let format = "{{.CurrentState}}|{{.Error}}";
        let end = wait_until(&format!("{name} to have looked"), || {
            let said = (self.run)(&["service", "ps", "--no-trunc", &name, "--format", format]).out;
            let is_over = ["Complete", "Failed", "Rejected"].iter().any(|end| said.starts_with(end));
            if is_over { Ok(said) } else { Err(said) }
        });
        let (state, error) = end.trim().split_once('|').expect("two columns");
        let state = state.split(' ').next().unwrap_or_default();
        // Where options add something to lines, that is what is compared.
        let shown: &[&str] = if flags.contains("--log-opt") { &["--details"] } else { &[] };
        let logs = (self.run)(&[&["service", "logs", "--raw"], shown, &[name.as_str()]].concat());
        let logs = format!("{}{}", logs.out, logs.err);
        let mut details = BTreeSet::new();
        let lines: Vec<String> = logs
            .lines()
            .map(|line| self.plain(line.trim_end_matches('\r')))
            .map(|line| match line.split_once(' ').filter(|_| !shown.is_empty()) {
                Some((own, line)) => {
                    details.insert(format!("details: {}", without_origin(own)));
                    line.to_owned()
                }
                None => line,
            })
            .collect();
        std::iter::once(format!("end: {state} {error}")).chain(details).chain(lines).collect()
    }

    fn plain(&self, line: &str) -> String {
        line.replace(&self.hostname, "<hostname>").replace(&self.address, "<address>")
    }
}

/// What options add to a line, without where it comes from.
fn without_origin(details: &str) -> String {
    let added: Vec<&str> = details.split(',').filter(|pair| !pair.starts_with("com.docker.swarm.")).collect();
    added.join(",")
}

/// Lines that only one of them printed, and which.
fn differences(docker: &[String], skep: &[String]) -> Vec<(String, &'static str)> {
    let mut counted: BTreeMap<&str, i64> = BTreeMap::new();
    for line in docker {
        *counted.entry(line).or_default() += 1;
    }
    for line in skep {
        *counted.entry(line).or_default() -= 1;
    }
    let side = |count: i64| if count > 0 { "docker alone:" } else { "skep alone:" };
    counted.into_iter().filter(|(_, count)| *count != 0).map(|(line, count)| (line.to_owned(), side(count))).collect()
}
