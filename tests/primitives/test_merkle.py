"""RFC 6962 trees: the published proofs, an oracle by the RFC's own recursion, and every forgery of a path."""

import base64
import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives import merkle
from p2pai.primitives.errors import InvalidProof

VECTORS = Path(__file__).parents[3] / "shared/vectors/merkle/inclusion"
CASES = sorted(VECTORS.rglob("*.json"))

sizes = st.integers(1, 40)


def leaves(size):
    return [merkle.leaf_hash(bytes([i])) for i in range(size)]


def rfc_root(hashes):
    """RFC 6962, section 2.1, word for word."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while 2 * k < len(hashes):
        k *= 2
    return sha256(b"\x01" + rfc_root(hashes[:k]) + rfc_root(hashes[k:])).digest()


@pytest.mark.skipif(not CASES, reason="published vectors are not here")
def test_all_published_inclusion_proofs_are_here():
    assert len(CASES) == 98


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_published_inclusion_proof(path):
    case = json.loads(path.read_text())
    leaf, root = base64.b64decode(case["leafHash"]), base64.b64decode(case["root"])
    proof = [base64.b64decode(part) for part in case["proof"] or []]
    try:
        merkle.verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)
    except InvalidProof:
        assert case["wantErr"], case["desc"]
    else:
        assert not case["wantErr"], case["desc"]


def test_root_of_certificate_transparencys_eight_leaves():
    # Source: google/certificate-transparency, merkle_tree_test.cc.
    data = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    hashes = [merkle.leaf_hash(bytes.fromhex(text)) for text in data]
    assert merkle.root(hashes).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert merkle.root(hashes[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"


@given(sizes)
def test_root_agrees_with_the_rfc(size):
    assert merkle.root(leaves(size)) == rfc_root(leaves(size))


@given(sizes, st.data())
def test_every_leaf_is_included_and_no_other_is(size, data):
    index = data.draw(st.integers(0, size - 1))
    hashes = leaves(size)
    path, root = merkle.inclusion_path(hashes, index), merkle.root(hashes)
    assert len(path) <= (size - 1).bit_length()
    merkle.verify_inclusion(hashes[index], index, size, path, root)
    other = data.draw(st.integers(0, size).filter(lambda i: i != index))
    with pytest.raises(InvalidProof):
        merkle.verify_inclusion(hashes[index], other, size, path, root)


@given(st.integers(2, 40), st.data())
def test_one_changed_bit_anywhere_is_refused(size, data):
    index = data.draw(st.integers(0, size - 1))
    hashes = leaves(size)
    parts = [hashes[index], merkle.root(hashes), *merkle.inclusion_path(hashes, index)]
    place = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    parts[place] = (int.from_bytes(parts[place], "big") ^ (1 << bit)).to_bytes(32, "big")
    with pytest.raises(InvalidProof):
        merkle.verify_inclusion(parts[0], index, size, parts[2:], parts[1])


@pytest.mark.parametrize("change", [lambda p: p[:-1], lambda p: (*p, p[0]), lambda p: p[::-1], lambda p: ()])
def test_a_path_of_the_wrong_length_or_order_is_refused(change):
    hashes = leaves(7)
    path = merkle.inclusion_path(hashes, 2)
    with pytest.raises(InvalidProof):
        merkle.verify_inclusion(hashes[2], 2, 7, change(path), merkle.root(hashes))


def test_a_node_is_not_a_leaf():
    hashes = leaves(4)
    node = merkle.root(hashes[:2])
    root = merkle.root(hashes)
    assert merkle.root([node, merkle.root(hashes[2:])]) == root
    data = hashes[0] + hashes[1]
    with pytest.raises(InvalidProof):
        merkle.verify_inclusion(merkle.leaf_hash(data), 0, 2, [merkle.root(hashes[2:])], root)


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0), (0, -1), (0, 2**63), (2**64, 2**65)])
def test_a_leaf_outside_the_tree_is_refused(index, size):
    leaf = leaves(1)[0]
    with pytest.raises(InvalidProof):
        merkle.verify_inclusion(leaf, index, size, [], leaf)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_hashes_of_the_wrong_length_are_refused_even_when_equal(length):
    short = bytes(length)
    with pytest.raises(InvalidProof):
        merkle.verify_inclusion(short, 0, 1, [], short)
    leaf = leaves(1)[0]
    with pytest.raises(InvalidProof):
        merkle.verify_inclusion(leaf, 0, 2, [short], sha256(b"\x01" + leaf + short).digest())


def test_an_empty_tree_has_no_root_and_no_paths():
    with pytest.raises(AssertionError):
        merkle.root([])
    with pytest.raises(AssertionError):
        merkle.inclusion_path([], 0)
    with pytest.raises(AssertionError):
        merkle.inclusion_path(leaves(3), 3)
