//! Every way in which Skep may answer otherwise than Docker 20.10, and why.

/// Step, place in the answer, reason. `*` stands for anything.
pub const ALLOWED: &[(&str, &str, &str)] = &[
    // Errors of Go's JSON decoder: ours name the field and what was wrong with it.
    ("* bad JSON", ".message", "the text is our JSON reader's"),
    ("*without a body", ".message", "the text says that JSON was expected"),
    ("body *", ".message", "the text is our JSON reader's, and what stands behind the object is not passed over"),
    ("no body", ".message", "the text says that JSON was expected"),
    ("create negative *", ".message", "the text is our JSON reader's"),
    ("create replicas as text", ".message", "the text is our JSON reader's"),
    ("* create no base64", ".message", "the text names the field"),
    ("* create base64 *", ".message", "the text names the field"),
    // Every field with what it cannot hold.
    (
        "*bounds kind *",
        ".message",
        "the text is our JSON reader's; characters that cannot be shown are written as Rust does",
    ),
    (
        "*bounds kind *[null]",
        "status",
        "Docker takes null for an empty one or crashes on it; here it is refused by name",
    ),
    ("*bounds kind *{\"a\":null}", "status", "null is no text: refused by name"),
    ("bounds kind /Name = *, inspect", ".Spec.Name", "a name is made up, but not of Docker's words"),
    ("bounds kind *, inspect", "*.Privileges.NoNewPrivileges", "since 1.44"),
    ("* bounds kind /Labels = {\"a\":null}, inspect", ".Spec.Labels.a", "null is no text: refused by name"),
    ("swarm bounds kind /Raft/*Tick = *, inspect", "*", "Docker cuts off what does not fit into 32 bits"),
    ("networks bounds {\"*", "[]", "docker_gwbridge is a network of Docker's own overlay"),
    (
        "network bounds */Config = *Gateway*",
        "status",
        "Docker takes a gateway that no network can have, and never allocates it",
    ),
    ("*bounds kind *Tick = *", "status", "Docker cuts off what does not fit into 32 bits"),
    ("bounds *Retries = *", "status", "Docker cuts off what does not fit into 32 bits"),
    ("bounds *Retries = 2147483648", ".message", "Docker cuts off what does not fit into 32 bits"),
    ("bounds *Nameservers = *", "status", "a name server that is no address could never be asked"),
    ("*bounds kind *Data = [1,2]", "status", "Docker reads lists of numbers as bytes"),
    ("bounds */Type = \"cluster\"", "status", "since 1.42"),
    ("bounds */Ports = *", "status", "what is no protocol is refused"),
    ("network bounds kind */Name = *", "status", "a bad value is the client's fault"),
    ("malformed filters *", "*", "damaged filters are the client's fault: 400, and a text that quotes them"),
    // Filters: since 23 Docker writes `invalid` small, and answers 400 where 20.10 answered 500.
    ("*\"]}", ".message", "written as newer engines do"),
    ("network prune bad filter", ".message", "written as newer engines do"),
    ("* {", "*", "damaged filters are the client's fault: 400, and a text that quotes them"),
    ("* []", "*", "damaged filters are the client's fault: 400, and a text that quotes them"),
    ("* {\"name\":\"x\"}", "*", "damaged filters are the client's fault: 400, and a text that quotes them"),
    ("events filters=%7B", "status", "damaged filters are the client's fault"),
    ("events since=yesterday", "status", "a time that is none is the client's fault"),
    ("events until=tomorrow", "status", "a time that is none is the client's fault"),
    ("networks {\"type\":[\"zz\"]}", "status", "a bad value is the client's fault"),
    ("networks {\"name\":[\"dup\"]}", "[]", "a part of a name is enough, as for networks of a node, and as documented"),
    // Newer versions of the API, whose fields are shown to older clients too, as Docker does.
    ("*", "*.Volumes", "since 1.42"),
    ("network*", "*.EnableIPv4", "since 1.48"),
    ("create *", ".Spec.TaskTemplate.ContainerSpec.Privileges.NoNewPrivileges", "since 1.44"),
    ("*", ".Warnings", "newer engines send it always, as null where there are none"),
    ("*logs of a task*", "content-type", "newer engines name the kind of stream"),
    // What a daemon says of itself.
    ("version*", "*", "another program: versions, components, builds"),
    ("info*", "*", "another program: its runtimes, plugins, versions, directories"),
    ("node*", "*.Description.Engine*", "another program: its version and plugins"),
    ("root without key, a CA without TLS", ".message", "ours says besides what each external CA answered"),
    // Networks.
    ("networks", "[]", "docker_gwbridge is a network of Docker's own overlay"),
    ("networks null", "[]", "docker_gwbridge is a network of Docker's own overlay"),
    (
        "network*",
        "*.IPAM.Options.com.docker.network.ipam.serial",
        "an option by which Docker tells its own allocator something",
    ),
    ("network *", "*.IPAM.Config[0].*", "the lowest free subnet is taken, where Docker takes the next"),
    ("network inspect ingress", "*", "nothing carries it on this node yet"),
    ("network bridge", "status", "refused as pre-defined, as newer engines do"),
    ("network host", "status", "refused as pre-defined, as newer engines do"),
    ("network none", ".message", "refused as pre-defined, as newer engines do"),
    ("network default", ".message", "refused as pre-defined, as newer engines do"),
    ("network no-such-driver", "status", "networks of one node are not Skep's: 501 and a sentence"),
    ("network of-one-node", "status", "networks of one node are not Skep's: 501 and a sentence"),
    ("network config-only", "status", "networks of one node are not Skep's: 501 and a sentence"),
    ("network no-cidr", "status", "a bad value is the client's fault; the text names the field"),
    ("network no-subnet", "status", "a bad value is the client's fault; the text names the field"),
    ("network empty-subnet", "status", "a bad value is the client's fault"),
    ("network gateway-alone", "status", "a bad value is the client's fault"),
    ("network no-address", ".message", "the text names the field"),
    ("network gateway-outside", ".message", "in newer engines' words"),
    ("network range-outside", ".message", "in newer engines' words"),
    ("network other-ipam", ".message", "there are no plugins to look up"),
    ("network without a name", "status", "a bad value is the client's fault"),
    // Secrets and configs.
    ("*s create unknown template driver", "status", "refused at once, not when a task is to use it"),
    ("*s create driver*", "status", "made before its plugin is there: tasks say what they wait for"),
    ("*s update data", "status", "beyond Docker: new data are a new version, to which services roll"),
    // Services.
    ("create without a name, *", ".Spec.Name", "a name is made up, but not of Docker's words"),
    ("create generic resource without a kind", "status", "Docker 20.10 crashes on it"),
    ("create bad protocol", "status", "Docker stores tcp instead; here a bad value is refused"),
    ("create bad publish mode", "status", "Docker stores ingress instead; here a bad value is refused"),
    ("create ingress*", "*.VirtualIPs[0].Addr", "the next free one; Docker gave others away before"),
    ("create ingress any*", "*.PublishedPort", "the next free one; Docker gave others away before"),
    ("bounds */Ports = [{}], inspect", ".Endpoint.*", "the next free port and address"),
    ("mesh*", "*.VirtualIPs[0].Addr", "the next free one; Docker gave others away before"),
    ("mesh attachments", "[0].Addresses[0]", "the next free one"),
    (
        "mesh*, *",
        ".Endpoint.Ports[*].PublishedPort",
        "any port will do: the next free one, kept over an update and back, where Docker takes another",
    ),
    ("create plugin", "status", "plugins as services are not Skep's: 501 and a sentence"),
    ("create *template*", ".message", "the text is our template reader's"),
    ("create unknown network", "status", "404 is what it means"),
    ("create networks *", ".Spec*.Networks", "kept in the task's spec, where newer engines put them"),
    ("update no name", "status", "that there is no name is seen before that it is another"),
    // Without a swarm.
    ("no swarm /networks/create*", "status", "503, as for everything else that a manager does"),
    ("no swarm /swarm/init*\"Availability\":\"zz\"*", "status", "a bad value is the client's fault"),
    ("no swarm /swarm/init*\"DataPathPort\"*", "status", "a bad value is the client's fault"),
    ("no swarm /swarm/join*\"JoinToken\"*", "status", "a bad value is the client's fault"),
    ("swarm after log driver", ".Spec.TaskDefaults.LogDriver", "20.10 takes it and does not show it"),
    // What makes a node a part of a swarm.
    (
        "init bounds *DefaultAddrPool*, inspect",
        ".SubnetSize",
        "the size that is used is shown, where Docker shows that none was asked for",
    ),
    ("init bounds /DefaultAddrPool = *", "status", "a bad value is the client's fault; pools that overlap are refused"),
    ("init bounds /SubnetSize = 3*", "status", "a subnet without room for a task is refused"),
    ("init bounds /AdvertiseAddr = \"<address>:*", "status", "a port that is none is refused"),
    ("init bounds /DataPathPort = *", "status", "a bad value is the client's fault"),
    ("init bounds /ListenAddr = \"0.0.0.0:*", "status", "a bad value is the client's fault"),
    ("init bounds kind *", "status", "a bad value is the client's fault"),
    ("init bounds /ListenAddr = \"192.0.2.99:2377\"", ".message", "the system's words, and what the address is for"),
    ("join bounds *", "status", "a bad value is the client's fault"),
    // Logs.
    ("logs *stdout=0&stderr=0", "status", "the client's fault, in newer engines' words"),
    ("logs of a task ", "status", "the client's fault, in newer engines' words"),
    ("logs without a stream", "status", "the client's fault, in newer engines' words"),
    ("logs of a task *since=x", "status", "a time that is none is the client's fault"),
];

/// Whether a text is what a pattern means.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    text.strip_prefix(start).is_some_and(|text| {
        (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
    })
}
