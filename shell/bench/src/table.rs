//! The figures, their targets, and what was measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use crate::fleet::Product;

/// One line of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Figure {
    Init,
    JoinManager,
    JoinWorker,
    CreateOne,
    CreateMany,
    List,
    Replicas,
    WorkerNoticed,
    WorkerReplaced,
    LeaderKilled,
    LeaderCut,
    MemoryIdle,
    MemoryServices,
    MemoryShim,
    MemoryShimParent,
    AgentsJoined,
    AgentsSessions,
    AgentsReplicas,
    AgentsProcessors,
    AgentsMemory,
}

/// How a figure is shown and judged.
struct Line {
    title: &'static str,
    unit: &'static str,
    /// Factor from what is measured (seconds, per second, MiB) to the unit shown.
    scale: f64,
    more_is_better: bool,
    /// In the unit shown.
    target: Option<f64>,
}

impl Figure {
    fn line(self) -> Line {
        let less = |title, unit, scale, target| Line { title, unit, scale, more_is_better: false, target };
        let more = |title, target| Line { title, unit: "/s", scale: 1.0, more_is_better: true, target: Some(target) };
        match self {
            Self::Init => less("swarm init", "s", 1.0, Some(0.05)),
            Self::JoinManager => less("swarm join, as manager", "s", 1.0, Some(0.05)),
            Self::JoinWorker => less("swarm join, as worker", "s", 1.0, Some(0.05)),
            Self::CreateOne => more("service creations, one at a time", 1000.0),
            Self::CreateMany => more("service creations, 32 at once", 4000.0),
            Self::List => less("list 400 services, to the last byte", "ms", 1000.0, Some(0.5)),
            Self::Replicas => less("12 replicas running, image local", "s", 1.0, Some(0.4)),
            Self::WorkerNoticed => less("killed worker process noticed", "s", 1.0, Some(2.0)),
            Self::WorkerReplaced => less("its tasks replaced", "s", 1.0, Some(3.0)),
            Self::LeaderKilled => less("killed leader process to first acknowledged write", "s", 1.0, Some(1.0)),
            Self::LeaderCut => less("leader's cable cut to first acknowledged write", "s", 1.0, None),
            Self::MemoryIdle => less("memory of a manager, idle", "MiB", 1.0, Some(8.0)),
            Self::MemoryServices => less("memory of a manager, 400 services", "MiB", 1.0, Some(15.0)),
            Self::MemoryShim => less("memory of a shim", "MiB", 1.0, Some(2.0)),
            Self::MemoryShimParent => less("memory of the process that shims are forked from", "MiB", 1.0, None),
            Self::AgentsJoined => less("simulated workers joined, each with a certificate", "s", 1.0, None),
            Self::AgentsSessions => less("all their sessions begun", "s", 1.0, None),
            Self::AgentsReplicas => less("service created, all replicas running", "s", 1.0, None),
            Self::AgentsProcessors => less("the manager's processors for it", "s", 1.0, None),
            Self::AgentsMemory => less("the manager's memory then", "MiB", 1.0, None),
        }
    }
}

/// Everything measured.
#[derive(Default)]
pub struct Table {
    samples: BTreeMap<Figure, BTreeMap<&'static str, Vec<f64>>>,
    docker_version: Option<String>,
}

impl Table {
    /// Adds one sample, in seconds, per second or MiB, and says it.
    pub fn add(&mut self, product: Product, figure: Figure, sample: f64) {
        let line = figure.line();
        eprintln!("  {}: {} {}", line.title, digits(sample * line.scale), line.unit);
        self.samples.entry(figure).or_default().entry(key(product)).or_default().push(sample);
    }

    /// Which Docker Engine it was.
    pub fn set_docker_version(&mut self, version: String) {
        self.docker_version = Some(version);
    }

    fn median(&self, product: Product, figure: Figure) -> Option<f64> {
        let mut samples = self.samples.get(&figure)?.get(key(product))?.clone();
        samples.sort_by(f64::total_cmp);
        let middle = samples.len() / 2;
        let even = samples.len().is_multiple_of(2);
        let median = if even { f64::midpoint(samples[middle - 1], samples[middle]) } else { samples[middle] };
        Some(median * figure.line().scale)
    }

    /// The range and number of a figure's samples, where there are several.
    fn range(&self, product: Product, figure: Figure) -> String {
        let Some(samples) = self.samples.get(&figure).and_then(|products| products.get(key(product))) else {
            return String::new();
        };
        if samples.len() < 2 {
            return String::new();
        }
        let scale = figure.line().scale;
        let least = samples.iter().copied().fold(f64::INFINITY, f64::min) * scale;
        let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max) * scale;
        format!(" ({}–{}, {}×)", digits(least), digits(most), samples.len())
    }

    /// How many times better Skep's median is.
    fn ratio(&self, figure: Figure) -> Option<f64> {
        let (skep, docker) = (self.median(Product::Skep, figure)?, self.median(Product::Docker, figure)?);
        Some(if figure.line().more_is_better { skep / docker } else { docker / skep })
    }

    fn is_met(&self, figure: Figure) -> Option<bool> {
        let line = figure.line();
        let (target, skep) = (line.target?, self.median(Product::Skep, figure)?);
        Some(if line.more_is_better { skep >= target } else { skep <= target })
    }

    /// Medians with ratios, for people and for documents.
    pub fn markdown(&self) -> String {
        let docker = self.docker_version.as_deref().map_or("Docker".to_owned(), |version| format!("Docker {version}"));
        let mut out =
            format!("| figure | {docker} | Skep | times better | target | met |\n|---|---|---|---|---|---|\n");
        for figure in self.samples.keys().copied() {
            let line = figure.line();
            let shown = |product| match self.median(product, figure) {
                Some(median) => format!("{} {}{}", digits(median), line.unit, self.range(product, figure)),
                None => "–".to_owned(),
            };
            let ratio = self.ratio(figure).map_or("–".to_owned(), |ratio| format!("{}×", digits(ratio)));
            let target = line.target.map_or("–".to_owned(), |target| format!("{} {}", digits(target), line.unit));
            let met = self.is_met(figure).map_or("–", |met| if met { "yes" } else { "no" });
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "| {} | {} | {} | {ratio} | {target} | {met} |",
                line.title,
                shown(Product::Docker),
                shown(Product::Skep)
            );
        }
        out
    }

    /// Everything, for programs.
    pub fn json(&self) -> String {
        let lines: Vec<_> = self
            .samples
            .iter()
            .map(|(figure, products)| {
                let line = figure.line();
                let scaled: BTreeMap<_, Vec<f64>> = products
                    .iter()
                    .map(|(product, samples)| (*product, samples.iter().map(|one| one * line.scale).collect()))
                    .collect();
                json!({
                    "figure": line.title, "unit": line.unit, "more_is_better": line.more_is_better,
                    "target": line.target, "skep": self.median(Product::Skep, *figure),
                    "docker": self.median(Product::Docker, *figure), "ratio": self.ratio(*figure),
                    "met": self.is_met(*figure), "samples": scaled,
                })
            })
            .collect();
        json!({"docker_version": self.docker_version, "figures": lines}).to_string()
    }
}

fn key(product: Product) -> &'static str {
    match product {
        Product::Skep => "skep",
        Product::Docker => "docker",
    }
}

/// Three digits that count.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_ratios_and_targets_go_the_right_way() {
        let mut table = Table::default();
        for sample in [0.004, 0.0001, 0.0003] {
            table.add(Product::Skep, Figure::List, sample);
        }
        table.add(Product::Docker, Figure::List, 0.003);
        table.add(Product::Skep, Figure::CreateOne, 500.0);
        table.add(Product::Docker, Figure::CreateOne, 250.0);
        assert!((table.median(Product::Skep, Figure::List).expect("a median") - 0.3).abs() < 1e-9);
        assert!((table.ratio(Figure::List).expect("a ratio") - 10.0).abs() < 1e-9);
        assert_eq!(table.is_met(Figure::List), Some(true));
        assert!((table.ratio(Figure::CreateOne).expect("a ratio") - 2.0).abs() < 1e-9);
        assert_eq!(table.is_met(Figure::CreateOne), Some(false));
        assert_eq!(table.ratio(Figure::Init), None);
        assert!(table.markdown().contains("| 3.00 ms | 0.300 ms (0.100–4.00, 3×) | 10.0× | 0.500 ms | yes |"));
    }
}
