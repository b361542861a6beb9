"""A set of texts as a trie of tokens in flat arrays: a model that walks it can write nothing but these texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m6rec_core.errors import DataError

Ints = NDArray[np.int32]
ROOT = 0


@dataclass(frozen=True, slots=True, eq=False)
class TokenTrie:
    """M nodes in the order of their depth; node e + 1 is where edge e leads, so edges need no target.

    `first` [M + 1]: the edges of node n are first[n] .. first[n + 1] - 1. `token` [M - 1]: of each edge, ascending
    within a node. `text` [M]: index into `texts` of the text that ends here, -1 for none. `depth`: the most tokens.
    """

    first: Ints
    token: Ints
    text: Ints
    texts: tuple[str, ...]
    depth: int

    def children(self, node: int) -> Ints:
        """Tokens that may follow at a node."""
        return self.token[self.first[node] : self.first[node + 1]]

    def child(self, node: int, token: int) -> int:
        """The node that `token` leads to; KeyError when it may not follow."""
        edges = self.children(node)
        place = int(np.searchsorted(edges, token))
        if place == len(edges) or edges[place] != token:
            raise KeyError(token)
        return int(self.first[node]) + place + 1

    def ends(self, node: int) -> bool:
        """Whether a text ends at a node."""
        return bool(self.text[node] >= 0)

    def leaf(self, node: int) -> bool:
        """Whether nothing may follow at a node."""
        return bool(self.first[node] == self.first[node + 1])

    @property
    def nested(self) -> bool:
        """Whether some text goes on where another one ends."""
        return bool(((self.text >= 0) & (np.diff(self.first) > 0)).any())


def build_trie(texts: Sequence[str], token_ids: Sequence[Sequence[int]]) -> TokenTrie:
    """Build the trie of texts from their token ids; of texts with the same tokens the first one counts.

    Raises DataError for an empty set or a text without tokens.
    """
    if not texts:
        raise DataError("the set of allowed texts is empty: give at least one text")
    lengths = np.array([len(ids) for ids in token_ids], np.int64)
    if (lengths == 0).any():
        raise DataError(f"allowed text {int(np.argmin(lengths)) + 1} is empty: leave it out")
    depth = int(lengths.max())
    table = np.full((len(texts), depth), -1, np.int32)
    table[np.arange(depth) < lengths[:, None]] = np.fromiter((i for ids in token_ids for i in ids), np.int32)
    order = np.lexsort(table.T[::-1])  # stable, shorter texts first: -1 is below every token
    table, lengths = table[order], lengths[order]
    node = np.zeros(len(texts), np.int64)
    parents: list[NDArray[np.int64]] = []
    tokens: list[Ints] = []
    count = 1
    for level in range(depth):
        rows = np.flatnonzero(lengths > level)
        parent, token = node[rows], table[rows, level]
        new = np.ones(len(rows), np.bool_)
        new[1:] = (parent[1:] != parent[:-1]) | (token[1:] != token[:-1])
        node[rows] = count - 1 + np.cumsum(new)
        parents.append(parent[new])
        tokens.append(token[new])
        count += int(new.sum())
    first = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(np.concatenate(parents), minlength=count), out=first[1:])
    ended = np.full(count, -1, np.int32)
    ended[node[::-1]] = order[::-1]  # the first of equal texts is written last
    return TokenTrie(first, np.concatenate(tokens), ended, tuple(texts), depth)
