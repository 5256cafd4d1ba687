//! The tree of spread preferences: each level splits the nodes by the value of a label, and tasks go to the branch
//! that has fewest of the service (interop §7.7).

use std::collections::{BTreeMap, BTreeSet};

/// How much a node is to be preferred: less is better. Recent failures (0 when few), tasks of the service, all tasks,
/// and the node's number.
pub(crate) type Rank = (u32, u32, u32, u32);

/// One branch; the root is branch 0.
#[derive(Debug, Default)]
struct Branch {
    /// Tasks of the service on all nodes of the branch, those that do not suit included.
    tasks: u64,
    full: bool,
    children: BTreeMap<String, usize>,
    /// Nodes, on the last level.
    nodes: BTreeSet<Rank>,
}

/// Nodes sorted into branches.
#[derive(Debug)]
pub(crate) struct Tree {
    branches: Vec<Branch>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { branches: vec![Branch::default()] }
    }

    /// Adds a node with its values, one per level. `None` for the rank counts its tasks only: it does not suit.
    pub(crate) fn add<'a>(&mut self, values: impl Iterator<Item = &'a str>, tasks: u32, rank: Option<Rank>) {
        let mut at = 0;
        self.branches[at].tasks += u64::from(tasks);
        for value in values {
            let next = self.branches.len();
            at = *self.branches[at].children.entry(value.to_owned()).or_insert(next);
            if at == next {
                self.branches.push(Branch::default());
            }
            self.branches[at].tasks += u64::from(tasks);
        }
        self.branches[at].nodes.extend(rank);
    }

    /// Takes the best node of the emptiest branch that `fits`; the task counts from now on. Nodes that do not fit are
    /// dropped. `again` gives the node's rank with the new task.
    pub(crate) fn take(&mut self, fits: &mut dyn FnMut(u32) -> bool) -> Option<u32> {
        self.take_from(0, fits)
    }

    fn take_from(&mut self, at: usize, fits: &mut dyn FnMut(u32) -> bool) -> Option<u32> {
        let mut taken = None;
        if self.branches[at].children.is_empty() {
            taken = self.take_node(at, fits);
        } else {
            while let (None, Some(child)) = (taken, self.emptiest(at)) {
                taken = self.take_from(child, fits);
            }
        }
        match taken {
            Some(_) => self.branches[at].tasks += 1,
            None => self.branches[at].full = true,
        }
        taken
    }

    fn emptiest(&self, at: usize) -> Option<usize> {
        let children = self.branches[at].children.values().copied();
        children.filter(|&child| !self.branches[child].full).min_by_key(|&child| self.branches[child].tasks)
    }

    fn take_node(&mut self, at: usize, fits: &mut dyn FnMut(u32) -> bool) -> Option<u32> {
        while let Some((failures, of_service, total, node)) = self.branches[at].nodes.pop_first() {
            if fits(node) {
                self.branches[at].nodes.insert((failures, of_service + 1, total + 1, node));
                return Some(node);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tree: &mut Tree, count: usize, fits: &mut dyn FnMut(u32) -> bool) -> Vec<u32> {
        (0..count).map_while(|_| tree.take(fits)).collect()
    }

    #[test]
    fn balances_branches_before_nodes() {
        let mut tree = Tree::new();
        tree.add(["a"].into_iter(), 0, Some((0, 0, 0, 1)));
        for node in 2..5 {
            tree.add(["b"].into_iter(), 0, Some((0, 0, 0, node)));
        }
        let placed = place(&mut tree, 8, &mut |_| true);
        assert_eq!(placed.iter().filter(|node| **node == 1).count(), 4, "{placed:?}");
    }

    #[test]
    fn counts_what_is_there_and_skips_full_branches() {
        let mut tree = Tree::new();
        tree.add(["a"].into_iter(), 3, Some((0, 3, 3, 1)));
        tree.add(["b"].into_iter(), 0, Some((0, 0, 0, 2)));
        tree.add(["c"].into_iter(), 0, None);
        assert_eq!(place(&mut tree, 4, &mut |_| true), [2, 2, 2, 1], "b catches up with a first");
        let mut left = 1;
        let mut fits = |_| {
            left -= 1;
            left >= 0
        };
        assert_eq!(place(&mut tree, 4, &mut fits).len(), 1, "then nothing fits any more");
    }

    #[test]
    fn nests_levels() {
        let mut tree = Tree::new();
        for (node, zone, rack) in [(1, "x", "r1"), (2, "x", "r2"), (3, "x", "r2"), (4, "y", "r1")] {
            tree.add([zone, rack].into_iter(), 0, Some((0, 0, 0, node)));
        }
        let placed = place(&mut tree, 8, &mut |_| true);
        let count = |wanted: &[u32]| placed.iter().filter(|node| wanted.contains(node)).count();
        assert_eq!((count(&[1, 2, 3]), count(&[4]), count(&[1]), count(&[2, 3])), (4, 4, 2, 2));
    }

    #[test]
    fn failing_nodes_come_last() {
        let mut tree = Tree::new();
        tree.add([].into_iter(), 0, Some((5, 0, 0, 1)));
        tree.add([].into_iter(), 0, Some((0, 7, 9, 2)));
        assert_eq!(place(&mut tree, 2, &mut |_| true), [2, 2]);
    }
}
