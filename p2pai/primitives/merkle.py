"""Merkle trees over chunks: roots, inclusion paths and their checks.

A leaf is hashed behind a zero byte and a node behind a one byte, so a node can never be passed off as a leaf.
A tree of n leaves splits at the largest power of two below n. The size is part of every check, because the
same path can hold for trees of different sizes, and an empty tree has no root: an absent root must never
compare equal to anything.

Source: RFC 6962, section 2.1; RFC 9162, section 2.1.3.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.ids import HASH_SIZE, Hash32

SIZE_MAX: Final = 2**63
"""Leaves of a tree, below; a path then has at most 63 steps."""


LEAF: Final = b"\x00"
"""Stands before the content of a leaf."""


def leaf_hash(data: bytes) -> Hash32:
    """Hash the content of one leaf."""
    return Hash32(sha256(LEAF + data).digest())


def root(leaf_hashes: Sequence[Hash32]) -> Hash32:
    """Return the root over one or more leaf hashes."""
    assert leaf_hashes, "an empty tree has no root"
    level = list(leaf_hashes)
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def inclusion_path(leaf_hashes: Sequence[Hash32], index: int) -> tuple[Hash32, ...]:
    """Return the siblings of leaf `index`, lowest first; at most log2 of the size, rounded up."""
    assert 0 <= index < len(leaf_hashes), "no such leaf"
    path = []
    level = list(leaf_hashes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level, index = _parents(level), index >> 1
    return tuple(path)


def verify_inclusion(leaf: Hash32, index: int, size: int, path: Sequence[Hash32], root: Hash32) -> None:
    """Check that `leaf` is leaf `index` of the tree of `size` leaves under `root`.

    Args:
      leaf: the leaf's hash, not its content.
      index: place of the leaf, from 0.
      size: leaves in the tree; the caller takes it from where it took the root.
      path: siblings as `inclusion_path` gives them.
      root: the root the caller trusts.

    Raises:
      InvalidProof: a hash of the wrong length, a leaf outside the tree, a path too short or too long, or
        another root.
    """
    if any(len(part) != HASH_SIZE for part in (leaf, root, *path)):
        raise InvalidProof("a hash in the inclusion proof does not have 32 bytes")
    if not 0 <= index < size < SIZE_MAX:
        raise InvalidProof(f"leaf {index} is not in a tree of {size} leaves")
    if _climb(leaf, index, size, path) != root:
        raise InvalidProof("inclusion path leads to another root")


def _climb(leaf: Hash32, index: int, size: int, path: Sequence[Hash32]) -> Hash32:
    # A last node without a right sibling moves up unchanged and takes nothing from the path.
    siblings = iter(path)
    node, last = leaf, size - 1
    while last:
        if index & 1 or index < last:
            sibling = next(siblings, None)
            if sibling is None:
                raise InvalidProof("inclusion path is too short")
            node = _node_hash(sibling, node) if index & 1 else _node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    if next(siblings, None) is not None:
        raise InvalidProof("inclusion path is too long")
    return node


def _parents(level: Sequence[Hash32]) -> list[Hash32]:
    pairs = zip(level[::2], level[1::2], strict=False)
    parents = [_node_hash(left, right) for left, right in pairs]
    return [*parents, level[-1]] if len(level) % 2 else parents


def _node_hash(left: Hash32, right: Hash32) -> Hash32:
    return Hash32(sha256(b"\x01" + left + right).digest())
