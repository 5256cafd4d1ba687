//! Every other command of a swarm, flag by flag.

use super::Both;

/// Line, place of a difference, reason.
pub const ALLOWED: &[(&str, &str, &str)] = &[
    ("* ls --filter nonsense=1", "err", "written as newer engines do"),
    ("service *--network*", "err", "a warning: nothing carries overlay networks yet"),
    ("stack deploy*", "err", "a warning: nothing carries overlay networks yet"),
    ("service *--health-*", "err", "a warning: the monitor is shorter than the check needs to notice a failure"),
    ("secret create --driver vault three", "code", "made before its plugin is there: tasks say what they wait for"),
    ("stack rm*", "*", "Docker 20.10 goes on to list a network that it has removed, and fails to remove it again"),
    ("network inspect --verbose n2*", "out", "an option by which Docker tells its own allocator something"),
];

/// Flags that no line tries, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("network connect *", "single containers are not Skep's"),
    ("network disconnect *", "single containers are not Skep's"),
    ("network create --config-*", "networks of one node are not Skep's"),
    ("network create --ingress", "there is one already, made with the swarm"),
    ("network create --ipv4", "newer than the version of the API that both speak"),
    ("* --health-start-interval", "newer than the version of the API that both speak"),
    ("* --oom-score-adj", "newer than the version of the API that both speak"),
    ("service logs --follow", "it has no end; see logs.rs"),
    ("swarm join --*", "see shell/skep/tests/membership.rs: it needs two hosts"),
    ("swarm init --external-ca", "see shell/skep/tests/e2e/authority.rs: it needs such a CA"),
    ("swarm init --force-new-cluster", "see shell/skep/tests/membership.rs"),
    ("swarm update --external-ca", "see shell/skep/tests/e2e/authority.rs: it needs such a CA"),
    ("swarm ca --*", "see shell/skep/tests/e2e/authority.rs and operator.rs"),
    ("stack deploy --quiet", "it prints nothing to compare"),
];

/// Flags of docker's client that ours has not, and why.
pub const NOT_OURS: &[(&str, &str)] = &[
    ("stack deploy *", "Compose files are read by docker's client"),
    ("stack config *", "Compose files are read by docker's client"),
    ("stack * --orchestrator", "of a time when there were two"),
    ("network connect *", "single containers are not Skep's"),
    ("network disconnect *", "single containers are not Skep's"),
];

pub const FILES: &[(&str, &str)] = &[
    ("text", "a text\n"),
    ("environment", "# a comment\nFROM_FILE=1\n\nWITH_SPACES=a b\n"),
    (
        "stack.yml",
        "version: '3.8'\nservices:\n  web:\n    image: busybox\n    command: sleep 1000\n    networks: [front]\n    secrets: [key]\n    configs: [settings]\n  idle:\n    image: busybox\n    deploy: {replicas: 0, labels: {a: b}}\nnetworks:\n  front: {}\nsecrets:\n  key: {file: ./text}\nconfigs:\n  settings: {file: ./text}\n",
    ),
    ("smaller.yml", "version: '3.8'\nservices:\n  idle:\n    image: busybox\n    deploy: {replicas: 0}\n"),
];

const DEPENDENCIES: &[&str] = &[
    "KIND create --label a=b --template-driver golang one <files>/text",
    "KIND create one <files>/text",
    "KIND create -bad <files>/text",
    "KIND create two <files>/nothing",
    "KIND ls",
    "KIND ls --quiet",
    "KIND ls --filter name=one",
    "KIND ls --filter label=a=b --format '{{.Name}} {{.Labels}} {{.Label \"a\"}}'",
    "KIND ls --filter nonsense=1",
    "KIND inspect one",
    "KIND inspect --pretty one",
    "KIND inspect --format {{.Spec.Name}} one",
    "KIND inspect nope",
    "KIND rm nope",
    "KIND rm one",
];

const NODES: &[&str] = &[
    "node ls --format '{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.TLSStatus}} {{.Self}}'",
    "node ls --quiet",
    "node ls --filter role=worker",
    "node ls --filter nonsense=1",
    "node inspect --format '{{json .Spec}}' self",
    "node inspect --format '{{.Spec.Role}} {{.Status.State}} {{.ManagerStatus.Leader}}' self",
    "node inspect nope",
    "node update --availability pause self",
    "node update --availability lazy self",
    "node update --availability active --label-add a=b --label-add c self",
    "node inspect --format '{{json .Spec}}' self",
    "node update --label-rm a self",
    "node update --label-rm a self",
    "node update --role worker self",
    "node update --role manager self",
    "node promote self",
    "node demote self",
    "node rm self",
    "node rm --force self",
    "node rm nope",
    "node ps nope",
];

const RUNNING: &[&str] = &[
    "service ls",
    "service ls --quiet",
    "service ls --filter name=r --format '{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}} {{.Ports}}'",
    "service ls --filter mode=global",
    "service ls --filter nonsense=1",
    "service ps r --format '{{.Name}} {{.Image}} {{.DesiredState}} {{.Error}} {{.Ports}}'",
    "service ps --no-resolve --no-trunc --filter desired-state=running r --format '{{.Name}} {{.Image}}'",
    "service ps --quiet --filter name=r.1 r",
    "service ps r nope",
    "service inspect --pretty r",
    "service inspect nope",
    "service inspect --format {{.Spec.Name}} r nope",
    "service scale --detach r=2",
    "service scale --detach r=x",
    "service scale --detach nope=1",
    "service rollback --detach --quiet r",
    "service rollback --detach nope",
    "service rollback --detach r",
    "service logs --raw --tail 1 r.nope",
    "service logs --details --no-resolve --no-task-ids --no-trunc --since 2100-01-01T00:00:00Z --tail 1 --timestamps r",
    "service logs --raw --since 1h r",
    "node ps --no-resolve --no-trunc --quiet --filter name=nothing self",
];

/// Of what runs in the end.
const AFTERWARDS: &[&str] =
    &["node ps --format '{{.Name}}' --filter name=r --filter desired-state=running self", "service rm r nope"];

const STACKS: &[&str] = &[
    "stack services --format '{{.Name}} {{.Mode}} {{.Image}} {{.Ports}}' st",
    "stack services --quiet st",
    "stack services --filter name=st_web --format {{.Name}} st",
    "stack services nope",
    "stack ls",
    "stack ls --format '{{.Name}} {{.Services}}'",
    "stack ps --no-resolve --no-trunc --quiet --filter desired-state=shutdown st",
    "stack ps --format '{{.Name}} {{.Image}} {{.DesiredState}}' --filter desired-state=running st",
    "stack ps nope",
    "service inspect st_web --format '{{json .Spec.Labels}} {{json .Spec.TaskTemplate.ContainerSpec.Labels}}'",
    "service inspect st_web --format '{{json .Spec.TaskTemplate.ContainerSpec.Secrets}}'",
    "network ls --filter label=com.docker.stack.namespace=st --format '{{.Name}} {{.Driver}} {{.Scope}}'",
    "stack deploy --compose-file <files>/smaller.yml --prune --resolve-image never st",
    "stack ls --format '{{.Name}} {{.Services}}'",
    "stack rm st",
    "stack rm st",
];

const NETWORKS: &[&str] = &[
    "network create --driver overlay --attachable --internal --label a=b --opt c=d --scope swarm --subnet 10.91.0.0/16 --ip-range 10.91.1.0/24 --gateway 10.91.0.9 --aux-address h=10.91.0.10 --ipam-driver default --ipam-opt e=f n2",
    "network create --driver overlay --ipv6 --subnet 10.92.0.0/16 --subnet fd00:92::/64 n3",
    "network create --driver overlay n2",
];

const NETWORK_VIEWS: &[&str] = &[
    "network inspect --verbose n2 --format '{{json .IPAM}} {{json .Labels}} {{.Scope}} {{.Attachable}} {{.Internal}}'",
    "network inspect --format '{{.EnableIPv6}} {{len .IPAM.Config}}' n3",
    "network inspect nope",
    "network ls --filter driver=overlay --filter label=a=b --format '{{.Name}} {{.Driver}} {{.Scope}} {{.IPv6}} {{.Internal}} {{.Labels}}'",
    "network ls --no-trunc --quiet --filter name=n2",
    "network ls --filter nonsense=1",
    "network rm n2 nope",
    "network prune --force --filter label=nothing",
    "network rm n3",
];

const SWARM: &[&str] = &[
    "swarm join-token worker",
    "swarm join-token --quiet manager",
    "swarm join-token --rotate worker",
    "swarm join-token boss",
    "swarm unlock-key",
    "swarm update --autolock --cert-expiry 3h --dispatcher-heartbeat 9s --max-snapshots 3 --snapshot-interval 300 --task-history-limit 4",
    "info --format '{{json .Swarm.Cluster.Spec}}'",
    "swarm unlock-key --quiet",
    "swarm unlock-key --rotate",
    "swarm update --autolock=false",
    "swarm update --cert-expiry 1s",
    "swarm unlock",
    "swarm init",
    "swarm leave",
    "swarm leave --force",
    "swarm leave",
    "swarm init --advertise-addr <address> --listen-addr 0.0.0.0:2377 --autolock --availability drain --cert-expiry 2h --data-path-addr <address> --data-path-port 5000 --default-addr-pool 10.30.0.0/16 --default-addr-pool-mask-length 26 --dispatcher-heartbeat 7s --max-snapshots 2 --snapshot-interval 500 --task-history-limit 3",
    "info --format '{{json .Swarm.Cluster.Spec}} {{json .Swarm.Cluster.DefaultAddrPool}} {{.Swarm.Cluster.SubnetSize}} {{.Swarm.Cluster.DataPathPort}}'",
    "node inspect --format {{.Spec.Availability}} self",
    "swarm leave --force",
];

const NODE: &str = "node inspect --pretty self";
const RUN: &str = "service create --detach --no-resolve-image --name r busybox sleep 1000";
const DEPLOY: &str = "stack deploy --compose-file <files>/stack.yml --resolve-image never --with-registry-auth st";

/// Every line that is tried.
pub fn lines() -> Vec<String> {
    let kinds = ["secret", "config"];
    let dependencies = kinds.iter().flat_map(|kind| DEPENDENCIES.iter().map(move |line| line.replace("KIND", kind)));
    let of = |list: &[&str]| list.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let rest = [NODES, RUNNING, AFTERWARDS, STACKS, NETWORKS, NETWORK_VIEWS, SWARM, NEWER, OLDER].map(of).concat();
    let more = [RUN, DEPLOY, NODE, "secret create --driver vault three"].map(str::to_owned);
    dependencies.chain(rest).chain(more).collect()
}

/// Of newer clients alone; the others end as for any unknown flag.
const NEWER: &[&str] = &[
    "stack deploy --detach=true --compose-file <files>/smaller.yml st",
    "stack config --compose-file <files>/stack.yml",
    "stack config --skip-interpolation --compose-file <files>/stack.yml",
    "stack rm --detach=true st",
    "network rm --force nope",
];
/// Of older clients alone.
const OLDER: &[&str] = &[
    "stack deploy --orchestrator swarm --compose-file <files>/smaller.yml st",
    "stack ls --orchestrator swarm",
    "stack ps --orchestrator swarm st",
    "stack services --orchestrator swarm --format {{.Name}} st",
    "stack rm --orchestrator swarm st",
];

pub fn walk(both: &mut Both<'_>) {
    for kind in ["secret", "config"] {
        for line in DEPENDENCIES {
            both.line(&line.replace("KIND", kind));
        }
    }
    both.line("secret create --driver vault three");
    each(both, NODES);
    // Versions and plugins are each program's own.
    both.quietly(NODE);
    both.line(RUN);
    both.settle("service ls --filter name=r --format {{.Replicas}}", "1/1");
    each(both, RUNNING);
    both.settle("service ls --filter name=r --format {{.Replicas}}", "2/2");
    each(both, AFTERWARDS);
    // Its parts are made in no order.
    both.quietly(DEPLOY);
    both.settle("service ls --filter name=st_web --format {{.Replicas}}", "1/1");
    each(both, STACKS);
    for line in NEWER.iter().chain(OLDER) {
        both.quietly(line);
    }
    each(both, NETWORKS);
    for network in ["n2", "n3"] {
        both.settle(&format!("network inspect {network} --format {{{{.Driver}}}}"), "overlay");
    }
    each(both, NETWORK_VIEWS);
    each(both, SWARM);
}

fn each(both: &mut Both<'_>, lines: &[&str]) {
    for line in lines {
        both.line(line);
    }
}
