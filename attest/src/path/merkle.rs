//! The tree that lets one quote speak for many legs: its root is the nonce in the claims of a group-committed quote.

use crate::Digest;

/// Leaves of one tree at most, so that a path has 16 steps at most.
pub const MAX_LEAVES: usize = 1 << MAX_STEPS;
pub(super) const MAX_STEPS: usize = 16;

/// A tree over leaves that were hashed by [`leaf`](super::leaf).
#[derive(Clone, Debug)]
pub struct MerkleTree {
    /// Leaf nodes first, the root last. Invariant: not empty, and no level is.
    levels: Vec<Vec<Digest>>,
}

/// The way from one leaf to the root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MerklePath {
    /// Bit k says on which side the k-th sibling stands: 1 when it is on the left. In a full tree that is the leaf's place.
    pub index: u32,
    pub siblings: Vec<Digest>,
}

impl MerkleTree {
    /// `None` without leaves, or with more than [`MAX_LEAVES`].
    pub fn new(leaves: &[Digest]) -> Option<Self> {
        if leaves.is_empty() || leaves.len() > MAX_LEAVES {
            return None;
        }
        let mut levels = vec![leaves.iter().map(leaf_node).collect::<Vec<_>>()];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let above = level.chunks(2).map(|pair| match pair {
                [left, right] => inner_node(left, right),
                // An odd node moves up unchanged.
                _ => pair[0],
            });
            levels.push(above.collect());
        }
        Some(Self { levels })
    }

    pub fn root(&self) -> Digest {
        self.levels[self.levels.len() - 1][0]
    }

    /// `None` if there is no such leaf.
    pub fn path(&self, leaf: usize) -> Option<MerklePath> {
        self.levels[0].get(leaf)?;
        let mut path = MerklePath { index: 0, siblings: Vec::new() };
        let mut place = leaf;
        for level in &self.levels {
            if let Some(sibling) = level.get(place ^ 1) {
                path.index |= ((place & 1) as u32) << path.siblings.len();
                path.siblings.push(*sibling);
            }
            place /= 2;
        }
        Some(path)
    }
}

impl MerklePath {
    /// The root that `leaf` leads to on this path.
    pub fn root(&self, leaf: &Digest) -> Digest {
        let mut node = leaf_node(leaf);
        for (step, sibling) in self.siblings.iter().enumerate() {
            let left = self.index.checked_shr(step as u32).unwrap_or(0) & 1 == 1;
            node = if left { inner_node(sibling, &node) } else { inner_node(&node, sibling) };
        }
        node
    }
}

fn leaf_node(leaf: &Digest) -> Digest {
    Digest::of_parts(&[&[0], leaf.as_bytes()])
}

fn inner_node(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|i| Digest::of(&i.to_be_bytes())).collect()
    }

    #[test]
    fn every_leaf_leads_to_the_root_and_to_no_other() {
        for count in 1..=33 {
            let leaves = leaves(count);
            let tree = MerkleTree::new(&leaves).unwrap();
            for (i, leaf) in leaves.iter().enumerate() {
                let path = tree.path(i).unwrap();
                assert_eq!(path.root(leaf), tree.root(), "leaf {i} of {count}");
                assert_ne!(path.root(&Digest::of(b"other")), tree.root());
                for step in 0..path.siblings.len() {
                    let turned = MerklePath { index: path.index ^ 1 << step, ..path.clone() };
                    assert_ne!(turned.root(leaf), tree.root());
                }
            }
            assert_eq!(tree.path(count), None);
        }
    }

    #[test]
    fn an_odd_node_moves_up_unchanged() {
        let leaves = leaves(3);
        let [a, b, c] = [0, 1, 2].map(|i| leaf_node(&leaves[i]));
        let tree = MerkleTree::new(&leaves).unwrap();
        assert_eq!(tree.root(), inner_node(&inner_node(&a, &b), &c));
        assert_eq!(tree.path(2).unwrap(), MerklePath { index: 1, siblings: vec![inner_node(&a, &b)] });
    }

    #[test]
    fn an_inner_node_is_no_leaf() {
        let leaves = leaves(2);
        let tree = MerkleTree::new(&leaves).unwrap();
        assert_ne!(leaf_node(&tree.root()), tree.root());
        assert!(MerkleTree::new(&[]).is_none());
        assert!(MerkleTree::new(&vec![Digest::of(b""); MAX_LEAVES + 1]).is_none());
    }
}
