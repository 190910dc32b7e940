"""The tree is RFC 6962's: published vectors, and any tree against the definition read word by word."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import merkle
from ledger.merkle import Frontier, Node, Span

# The reference data of the certificate transparency projects: eight inputs, and what their trees come to.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
NODES = [
    [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
        "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1",
    ],
    [
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    ],
    [
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    ["5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"],
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSIONS: dict[tuple[int, int], list[tuple[int, int]]] = {
    (0, 1): [],
    (0, 2): [(0, 1)],
    (1, 2): [(0, 0)],
    (2, 3): [(1, 0)],
    (1, 5): [(0, 0), (1, 1), (0, 4)],
    (0, 8): [(0, 1), (1, 1), (2, 1)],
    (5, 8): [(0, 4), (1, 3), (2, 0)],
}
CONSISTENCIES: dict[tuple[int, int], list[tuple[int, int]]] = {
    (1, 1): [],
    (1, 8): [(0, 1), (1, 1), (2, 1)],
    (2, 5): [(1, 1), (0, 4)],
    (6, 8): [(1, 2), (1, 3), (2, 0)],
}
"""Published proofs, hash by hash, as places in the published nodes."""


def published(node: Node) -> bytes:
    return bytes.fromhex(NODES[node.level][node.index])


def test_leaves_and_nodes_hash_to_the_published_values() -> None:
    assert [merkle.leaf_hash(data).hex() for data in INPUTS] == NODES[0]
    for below, above in pairwise(NODES):
        pairs = zip(below[::2], below[1::2], strict=True)
        found = [merkle.node_hash(bytes.fromhex(left), bytes.fromhex(right)).hex() for left, right in pairs]
        assert found == above


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size: int) -> None:
    grown = Frontier()
    grown.extend(b"".join(map(merkle.leaf_hash, INPUTS[:size])))
    assert (grown.size, grown.root.hex()) == (size, ROOTS[size])
    assert merkle.root(size, published).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSIONS)
def test_inclusion_proofs_are_the_published_ones(index: int, size: int) -> None:
    proof = [published(Node(*place)) for place in INCLUSIONS[index, size]]
    assert merkle.inclusion_proof(index, size, published) == proof
    leaf = merkle.leaf_hash(INPUTS[index])
    assert merkle.includes(bytes.fromhex(ROOTS[size]), size=size, index=index, leaf=leaf, proof=proof)


@pytest.mark.parametrize(("old", "new"), CONSISTENCIES)
def test_consistency_proofs_are_the_published_ones(old: int, new: int) -> None:
    proof = [published(Node(*place)) for place in CONSISTENCIES[old, new]]
    assert merkle.consistency_proof(old, new, published) == proof
    roots = bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new])
    assert merkle.extends(*roots, old=old, new=new, proof=proof)


# The definitions of RFC 6962, 2.1, as they stand there: MTH, PATH, PROOF and SUBPROOF.


def split(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def tree_hash(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), tree_hash(leaves[k:])]
    return [*path(m - k, leaves[k:]), tree_hash(leaves[:k])]


def subproof(m: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [tree_hash(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole=whole), tree_hash(leaves[k:])]
    return [*subproof(m - k, leaves[k:], whole=False), tree_hash(leaves[:k])]


def naive(leaves: list[bytes]) -> merkle.HashOf:
    return lambda node: tree_hash(leaves[node.start : node.end])


LEAVES = st.integers(1, 700).map(lambda size: [number.to_bytes(2, "big") for number in range(size)])


@given(LEAVES, st.data())
def test_any_leaf_of_any_tree_is_proved_by_the_definition(leaves: list[bytes], data: st.DataObject) -> None:
    size = len(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, naive(leaves))
    assert proof == path(index, leaves)
    leaf, root = merkle.leaf_hash(leaves[index]), tree_hash(leaves)
    assert merkle.root(size, naive(leaves)) == root
    assert merkle.includes(root, size=size, index=index, leaf=leaf, proof=proof)
    elsewhere = data.draw(st.integers(0, size - 1))
    assert (elsewhere == index) == merkle.includes(root, size=size, index=elsewhere, leaf=leaf, proof=proof)
    for wrong in (proof[1:], [*proof, leaf], [leaf, *proof], [*proof[:-1], leaf]):
        assert wrong == proof or not merkle.includes(root, size=size, index=index, leaf=leaf, proof=wrong)
    assert not merkle.includes(root, size=size, index=index, leaf=merkle.leaf_hash(b"else"), proof=proof)


@given(LEAVES, st.data())
def test_any_tree_is_proved_to_begin_with_any_smaller_one(leaves: list[bytes], data: st.DataObject) -> None:
    new = len(leaves)
    old = data.draw(st.integers(1, new))
    proof = merkle.consistency_proof(old, new, naive(leaves))
    assert proof == subproof(old, leaves, whole=True)
    before, after = tree_hash(leaves[:old]), tree_hash(leaves)
    assert merkle.extends(before, after, old=old, new=new, proof=proof)
    changed = data.draw(st.integers(0, old - 1))
    rewritten = [b"else" if number == changed else leaf for number, leaf in enumerate(leaves)]
    lies = merkle.consistency_proof(old, new, naive(rewritten))
    assert not merkle.extends(before, tree_hash(rewritten), old=old, new=new, proof=lies)
    assert not merkle.extends(before, tree_hash(rewritten), old=old, new=new, proof=proof)
    for wrong in (proof[1:], [*proof, after]):
        assert wrong == proof or not merkle.extends(before, after, old=old, new=new, proof=wrong)


@given(st.lists(st.integers(0, 300), max_size=6))
def test_a_tree_that_grows_in_any_steps_keeps_every_eighth_level(steps: list[int]) -> None:
    leaves = [number.to_bytes(2, "big") for number in range(sum(steps))]
    grown = Frontier()
    kept: dict[Node, bytes] = {}
    for step in steps:
        new = leaves[grown.size : grown.size + step]
        kept |= dict(grown.extend(b"".join(map(merkle.leaf_hash, new))))
    assert grown.root == tree_hash(leaves)
    assert kept == {
        Node(8, index): tree_hash(leaves[index * 256 : index * 256 + 256])
        for index in range(len(leaves) // 256)
    }


def test_a_tree_of_many_tiles_keeps_the_tiles_of_tiles() -> None:
    leaf, grown = merkle.leaf_hash(b"x"), Frontier()
    kept: dict[Node, bytes] = {}
    for _ in range(257):
        kept |= dict(grown.extend(leaf * 256))
    assert [node for node in kept if node.level > 8] == [Node(16, 0)]
    tile = tree_hash([b"x"] * 256)
    assert kept[Node(16, 0)] == tree_hash([b"x"] * 65_536)
    assert Frontier(257 * 256, [kept[Node(16, 0)], tile]).root == grown.root


def test_no_proof_holds_for_a_leaf_or_a_tree_that_cannot_be() -> None:
    leaf = merkle.leaf_hash(b"")
    for index, size in ((1, 1), (-1, 1), (0, 0), (5, 4)):
        assert not merkle.includes(leaf, size=size, index=index, leaf=leaf, proof=[])
    for old, new in ((0, 1), (2, 1), (-1, 1), (0, 0)):
        assert not merkle.extends(leaf, leaf, old=old, new=new, proof=[])


def test_a_span_is_made_of_the_largest_perfect_subtrees() -> None:
    assert list(merkle.nodes_of(Span(0, 7))) == [Node(2, 0), Node(1, 2), Node(0, 6)]
    assert list(merkle.nodes_of(Span(4, 7))) == [Node(1, 2), Node(0, 6)]
    assert list(merkle.nodes_of(Span(0, 0))) == []
