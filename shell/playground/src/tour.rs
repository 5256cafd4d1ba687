//! The tour: each step shows the command and the table that an operator would see.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::cluster::Cluster;
use crate::image;

/// Replicas of the service; fewer where there are fewer hosts, because each publishes a port of its host.
const REPLICAS: usize = 6;
/// Longest wait for a web page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// All steps.
pub fn run(cluster: &mut Cluster) -> anyhow::Result<()> {
    form(cluster)?;
    let replicas = deploy(cluster)?;
    visit(cluster)?;
    if cluster.managers() >= 3 {
        lose_the_leader(cluster)?;
    }
    summary(cluster, replicas)
}

fn step(cluster: &Cluster, what: &str) {
    println!("\n[{:6.2} s] {what}", cluster.started.elapsed().as_secs_f64());
}

/// Shows a command and what it says.
fn show(cluster: &Cluster, host: usize, words: &[&str]) -> anyhow::Result<String> {
    println!("{}$ skep {}", cluster.hostname(host), words.join(" "));
    let said = cluster.skep(host, words)?;
    for line in said.lines() {
        println!("    {line}");
    }
    Ok(said)
}

fn form(cluster: &Cluster) -> anyhow::Result<()> {
    step(cluster, &format!("{} hosts are up; making a swarm of them", cluster.size()));
    show(cluster, 0, &["swarm", "init", "--advertise-addr", cluster.address(0)])?;
    let address = format!("{}:2377", cluster.address(0));
    for role in ["manager", "worker"] {
        let token = cluster.skep(0, &["swarm", "join-token", "-q", role])?;
        let hosts = if role == "manager" { 1..cluster.managers() } else { cluster.managers()..cluster.size() };
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let joins: Vec<_> = hosts
                .map(|host| {
                    let (token, address) = (&token, &address);
                    scope.spawn(move || cluster.skep(host, &["swarm", "join", "--token", token, address]))
                })
                .collect();
            for join in joins {
                join.join().map_err(|_| anyhow::anyhow!("a join failed"))??;
            }
            Ok(())
        })?;
        step(cluster, &format!("every {role} has joined"));
    }
    cluster.wait("all nodes to be ready", || {
        let list = cluster.skep(0, &["node", "ls", "--format", "{{.Status}}"]).unwrap_or_default();
        list.lines().filter(|line| *line == "Ready").count() == cluster.size()
    })?;
    step(cluster, "all nodes are ready");
    show(cluster, 0, &["node", "ls"])?;
    Ok(())
}

fn deploy(cluster: &Cluster) -> anyhow::Result<usize> {
    step(cluster, "bringing an image onto every host, made from this program (no registry)");
    let archive = image::archive(cluster.binary(), cluster.directory())?.display().to_string();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let archive = &archive;
        let imports: Vec<_> = (0..cluster.size())
            .map(|host| {
                let change = r#"ENTRYPOINT ["/bin/skep","playground-web"]"#;
                scope.spawn(move || cluster.skep(host, &["import", "-c", change, archive, "web:1"]))
            })
            .collect();
        for import in imports {
            import.join().map_err(|_| anyhow::anyhow!("an import failed"))??;
        }
        Ok(())
    })?;
    let replicas = REPLICAS.min(cluster.size());
    step(cluster, &format!("{replicas} replicas of a web service"));
    show(
        cluster,
        0,
        &[
            "service",
            "create",
            "--detach",
            "--no-resolve-image",
            "--name",
            "web",
            "--replicas",
            &replicas.to_string(),
            "--publish",
            "mode=host,published=8080,target=8080",
            "web:1",
        ],
    )?;
    wait_running(cluster, 0, replicas)?;
    step(cluster, "all replicas run");
    show(cluster, 0, &["service", "ps", "web"])?;
    Ok(replicas)
}

fn running(cluster: &Cluster, asked: usize) -> Vec<String> {
    let words =
        ["service", "ps", "web", "--filter", "desired-state=running", "--format", "{{.Node}} {{.CurrentState}}"];
    let list = cluster.skep(asked, &words).unwrap_or_default();
    let lines = list.lines().filter_map(|line| line.split_once(' ')).filter(|(_, state)| state.starts_with("Running"));
    lines.map(|(node, _)| node.to_owned()).collect()
}

fn wait_running(cluster: &Cluster, asked: usize, count: usize) -> anyhow::Result<()> {
    cluster.wait("all replicas to run", || running(cluster, asked).len() == count)
}

fn visit(cluster: &Cluster) -> anyhow::Result<()> {
    step(cluster, "asking every replica for its page");
    for host in running(cluster, 0) {
        let index = cluster.index_of(&host).with_context(|| format!("no host {host}"))?;
        let page = page(cluster.address(index)).with_context(|| format!("the page of {host}"))?;
        println!("    http://{}:8080/ ({host}): {page}", cluster.address(index));
    }
    Ok(())
}

fn page(address: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&format!("{address}:8080").parse()?, PAGE_TIMEOUT)?;
    stream.set_read_timeout(Some(PAGE_TIMEOUT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.trim().to_owned()),
        _ => bail!("not the expected answer: {answer}"),
    }
}

fn leader(cluster: &Cluster, asked: usize) -> Option<usize> {
    let list = cluster.skep(asked, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]).ok()?;
    list.lines().find_map(|line| line.strip_suffix(" Leader")).and_then(|host| cluster.index_of(host))
}

fn lose_the_leader(cluster: &mut Cluster) -> anyhow::Result<()> {
    let lost = leader(cluster, 0).context("no leader")?;
    let asked = (0..cluster.managers()).find(|host| *host != lost).context("no other manager")?;
    step(cluster, &format!("killing the leader's daemon, on {}", cluster.hostname(lost)));
    let killed = Instant::now();
    cluster.kill_daemon(lost)?;
    cluster.wait("a write to be acknowledged", || {
        cluster.skep(asked, &["service", "update", "--detach", "--label-add", "leader=lost", "web"]).is_ok()
    })?;
    let waited = killed.elapsed();
    let now = leader(cluster, asked).context("no leader")?;
    step(
        cluster,
        &format!(
            "{} leads; first write acknowledged {:.2} s after the kill",
            cluster.hostname(now),
            waited.as_secs_f64()
        ),
    );
    show(cluster, asked, &["node", "ls"])?;
    step(cluster, &format!("starting the daemon on {} again", cluster.hostname(lost)));
    cluster.start_daemon(lost)?;
    cluster.wait("the old leader to follow and its node to be ready", || {
        let words = ["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}"];
        let wanted = format!("{} Ready Reachable", cluster.hostname(lost));
        cluster.skep(lost, &words).is_ok_and(|list| list.lines().any(|line| line == wanted))
    })?;
    show(cluster, lost, &["node", "ls"])?;
    Ok(())
}

fn summary(cluster: &Cluster, replicas: usize) -> anyhow::Result<()> {
    let asked = cluster.managers() - 1;
    wait_running(cluster, asked, replicas)?;
    step(cluster, "all replicas run, as wanted");
    show(cluster, asked, &["service", "ls"])?;
    println!(
        "\nThe swarm of {} hosts formed, ran {replicas} replicas{} and is whole.",
        cluster.size(),
        if cluster.managers() >= 3 { ", lost its leader" } else { "" }
    );
    Ok(())
}
