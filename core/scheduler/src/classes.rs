//! Nodes sorted by load, once for each kind of ask: a task whose plugin every third node has is not shown the others,
//! however many groups of such tasks follow each other.

use skep_model::Node;
use skep_model::constraint::{self, Constraint};
use skep_model::pb::types::Platform;

use crate::filter;
use crate::loads::{LoadedNode, Loads};
use crate::node::NodeNumber;
use crate::requirements::Requirements;

/// Asks remembered at a time; the one that was not used for longest makes room. Each costs a look at a node's place
/// whenever the node's load changes.
const CLASSES_MAX: usize = 16;

/// What a task asks of a node whatever runs there.
#[derive(Clone, PartialEq, Debug)]
struct Ask {
    plugins: Vec<(&'static str, String)>,
    constraints: Vec<Constraint>,
    platforms: Vec<Platform>,
}

impl Ask {
    fn is_of(&self, wanted: &Requirements) -> bool {
        self.plugins.iter().map(|(kind, name)| (*kind, &**name)).eq(wanted.plugins.iter())
            && self.constraints == wanted.constraints
            && self.platforms == wanted.platforms
    }

    fn suits(&self, node: &Node) -> bool {
        node.takes_tasks()
            && filter::has_plugins(node, self.plugins.iter().map(|(kind, name)| (*kind, &**name)))
            && constraint::node_matches(&self.constraints, node)
            && constraint::platforms_fit(&self.platforms, node)
    }
}

#[derive(Clone, Debug)]
struct Class {
    ask: Ask,
    /// Nodes that suit, emptiest first.
    by_load: Loads,
    used_at: u64,
}

/// Kinds of ask, each with its nodes.
#[derive(Clone, Default, Debug)]
pub(crate) struct Classes {
    classes: Vec<Class>,
    uses: u64,
}

impl Classes {
    /// The class of this ask, made from the nodes (number, load) when it is not remembered. It is good until the next
    /// call.
    pub(crate) fn class_of<'a>(
        &mut self,
        wanted: &Requirements,
        nodes: impl Iterator<Item = (NodeNumber, u32, &'a Node)>,
    ) -> usize {
        self.uses += 1;
        if let Some(known) = self.classes.iter().position(|class| class.ask.is_of(wanted)) {
            self.classes[known].used_at = self.uses;
            return known;
        }
        let ask = Ask {
            plugins: wanted.plugins.iter().map(|(kind, name)| (kind, name.to_owned())).collect(),
            constraints: wanted.constraints.clone(),
            platforms: wanted.platforms.to_vec(),
        };
        let suiting = nodes.filter(|(.., node)| ask.suits(node)).map(|(number, load, _)| (load, number));
        let class = Class { by_load: suiting.collect(), ask, used_at: self.uses };
        let oldest = (0..self.classes.len()).min_by_key(|at| self.classes[*at].used_at);
        match oldest.filter(|_| self.classes.len() >= CLASSES_MAX) {
            Some(at) => {
                self.classes[at] = class;
                at
            }
            None => {
                self.classes.push(class);
                self.classes.len() - 1
            }
        }
    }

    /// Nodes of the class, emptiest first, from behind `after` on.
    pub(crate) fn emptiest_after(&self, class: usize, after: Option<LoadedNode>) -> Option<LoadedNode> {
        self.classes.get(class)?.by_load.first_after(after)
    }

    /// The node's load changed.
    pub(crate) fn reload(&mut self, number: NodeNumber, before: u32, after: u32) {
        for class in &mut self.classes {
            if class.by_load.remove((before, number)) {
                class.by_load.insert((after, number));
            }
        }
    }

    /// The node is new, or describes itself anew.
    pub(crate) fn describe(&mut self, number: NodeNumber, load: u32, node: &Node) {
        for class in &mut self.classes {
            if class.ask.suits(node) {
                class.by_load.insert((load, number));
            } else {
                class.by_load.remove((load, number));
            }
        }
    }

    /// The node is gone.
    pub(crate) fn remove(&mut self, number: NodeNumber, load: u32) {
        for class in &mut self.classes {
            class.by_load.remove((load, number));
        }
    }

    /// Whether every class has the node exactly when it suits.
    #[cfg(test)]
    pub(crate) fn agree(&self, number: NodeNumber, load: u32, node: &Node) -> bool {
        self.classes.iter().all(|class| class.by_load.contains((load, number)) == class.ask.suits(node))
    }
}
