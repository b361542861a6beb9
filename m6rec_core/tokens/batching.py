"""Token rows of any number of tasks are packed into sequences of a token budget, and packs into batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m6rec_core.tokens.encode import TokenRow
from m6rec_core.tokens.layout import Layout
from m6rec_core.tokens.markers import SUMMARY
from m6rec_core.tokens.tree import Forest, Piece, grow, shared_prefix, sharing_key
from m6rec_core.types import Sample

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sample of a task with its token rows; `index` is its place in the data set, which predictions are sorted by."""

    task: str
    index: int
    sample: Sample
    rows: tuple[TokenRow, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """Samples of one task merged into one forest."""

    task: str
    samples: tuple[Encoded, ...]
    forest: Forest


@dataclass(frozen=True, slots=True)
class Pack:
    """Trees that lie side by side in one sequence."""

    trees: tuple[Tree, ...]

    @property
    def tokens(self) -> int:
        """Length of the sequence."""
        return sum(len(t.forest.ids) for t in self.trees)

    @property
    def samples(self) -> int:
        """Number of samples in the pack."""
        return sum(len(t.samples) for t in self.trees)

    @property
    def rows(self) -> int:
        """Number of text rows in the pack."""
        return sum(len(s.rows) for t in self.trees for s in t.samples)


def plan_packs(samples: Sequence[Encoded], pack_tokens: int, causal: Mapping[str, bool] | bool = True) -> list[Pack]:
    """Merge samples into trees of at most `pack_tokens` tokens and fill packs with them, first fit by falling length.

    Neighbours in sorted order share most, so samples are sorted and cut greedily. A single sample longer than the
    budget gets a pack of its own. The result depends on the samples only, not on their order. `causal`: whether the
    source region is causal, for all tasks or by task (`grow`).
    """
    trees: list[Tree] = []
    by_task: dict[str, list[Encoded]] = {}
    for sample in samples:
        by_task.setdefault(sample.task, []).append(sample)
    for task, members in sorted(by_task.items()):
        exact = causal if isinstance(causal, bool) else causal[task]
        members.sort(key=lambda s: (tuple(sharing_key(r, exact) for r in s.rows), s.index))
        for group in _cut(members, pack_tokens, exact):
            forest = grow([row for s in group for row in s.rows], exact)
            trees.append(Tree(task, tuple(group), forest))
    return _fill(trees, pack_tokens)


def _cut(members: Sequence[Encoded], pack_tokens: int, causal: bool) -> list[list[Encoded]]:
    """Consecutive groups whose merged size stays within the budget (the size is bounded by row-wise prefixes)."""
    groups: list[list[Encoded]] = []
    size = 0
    for sample in members:
        whole = _added(None, sample, causal)
        added = _added(groups[-1][-1] if groups else None, sample, causal)
        if groups and size + added <= pack_tokens:
            groups[-1].append(sample)
            size += added
        else:
            groups.append([sample])
            size = whole
    return groups


def _added(previous: Encoded | None, sample: Encoded, causal: bool) -> int:
    """Upper bound of the tokens that a sample adds after `previous`."""
    total = 0
    for r, row in enumerate(sample.rows):
        shared = 0 if r == 0 else shared_prefix(sample.rows[r - 1], row, causal)
        if previous is not None and r < len(previous.rows):
            shared = max(shared, shared_prefix(previous.rows[r], row, causal))
        total += len(row.ids) - shared
    return total


def _fill(trees: list[Tree], pack_tokens: int) -> list[Pack]:
    bins: list[list[Tree]] = []
    room: list[int] = []
    open_from = 0
    for tree in sorted(trees, key=lambda t: -len(t.forest.ids)):
        length = len(tree.forest.ids)
        for b in range(open_from, len(bins)):
            if room[b] >= length:
                bins[b].append(tree)
                room[b] -= length
                break
        else:
            bins.append([tree])
            room.append(pack_tokens - length)
        while open_from < len(bins) and room[open_from] < 8:
            open_from += 1
    return [Pack(tuple(b)) for b in bins]


@dataclass(frozen=True, slots=True)
class TaskRows:
    """Where the rows of one task lie in a batch of G x T tokens; places are flat indices g * T + t.

    `samples` N; `indices` [N] their places in the data set; `readout` [R]; `sample_of_row` [R]; `scored_from` [M]:
    the token that predicts each scored token; `scored_ids` [M], V for a scored [EOS], of which `ends` says whether
    there is one; `scored_row` [M]; `tokens`: flat places of all tokens of the task; `slots`: their segment
    embeddings; `prompt_places`, `prompt_slots`, `marker_places`, `marker_slots`: tokens whose embedding belongs to
    the task; `text_places`: all other tokens, in the order of `pieces`, the segments that they are.
    `pooled`, `pooled_row` [P]: further tokens whose states are averaged with that of their row's read-out.
    `summary_places`, `summary_slots` [S]: tokens that sum up a segment; `summarised` [Q]: the tokens that they sum
    up; `summary_of` [Q], ascending: which of the S each of these belongs to.
    """

    samples: tuple[Sample, ...]
    indices: tuple[int, ...]
    pieces: tuple[Piece, ...]
    ends: bool
    readout: Tensor
    sample_of_row: Tensor
    scored_from: Tensor
    scored_ids: Tensor
    scored_row: Tensor
    pooled: Tensor
    pooled_row: Tensor
    tokens: Tensor
    slots: Tensor
    text_places: Tensor
    prompt_places: Tensor
    prompt_slots: Tensor
    marker_places: Tensor
    marker_slots: Tensor
    summary_places: Tensor
    summary_slots: Tensor
    summarised: Tensor
    summary_of: Tensor

    def to(self, device: torch.device | str) -> TaskRows:
        """The same rows with tensors on another device."""
        return TaskRows(
            self.samples,
            self.indices,
            self.pieces,
            self.ends,
            *(
                t.to(device)
                for t in (
                    self.readout, self.sample_of_row, self.scored_from, self.scored_ids, self.scored_row, self.pooled,
                    self.pooled_row, self.tokens, self.slots, self.text_places, self.prompt_places, self.prompt_slots,
                    self.marker_places, self.marker_slots, self.summary_places, self.summary_slots, self.summarised,
                    self.summary_of,
                )
            ),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """G packs padded to T tokens. `ids` [G, T]: text ids; 0 where a soft prompt, a marker or padding stands."""

    ids: Tensor
    layout: Layout
    tasks: Mapping[str, TaskRows]

    @property
    def samples(self) -> int:
        """Number of samples over all tasks."""
        return sum(len(rows.samples) for rows in self.tasks.values())

    @property
    def tokens(self) -> int:
        """Number of tokens that are not padding."""
        return sum(len(rows.tokens) for rows in self.tasks.values())

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        return Batch(self.ids.to(device), self.layout.to(device), {k: v.to(device) for k, v in self.tasks.items()})


def collate(packs: Sequence[Pack], vocabulary: int) -> Batch:
    """Pad packs to one length and record where each task's rows lie. `vocabulary`: V, above which markers begin."""
    length = max(p.tokens for p in packs)
    count = len(packs)
    ids = np.zeros((count, length), np.int64)
    fields = {name: np.zeros((count, length), np.int64) for name in ("end", "block", "segment", "position", "offset")}
    fields["end"][:] = np.arange(1, length + 1)
    fields["block"][:] = -1
    fields["segment"][:] = np.arange(length) + length
    gathered: dict[str, list[tuple[Tree, int]]] = {}
    for g, pack in enumerate(packs):
        start = segments = blocks = 0
        for tree in pack.trees:
            forest = tree.forest
            stop = start + len(forest.ids)
            block = np.asarray(forest.block)
            ids[g, start:stop] = forest.ids
            fields["end"][g, start:stop] = np.asarray(forest.end) + start
            fields["block"][g, start:stop] = np.where(block >= 0, block + blocks, -1)
            fields["segment"][g, start:stop] = np.asarray(forest.segment) + segments
            fields["position"][g, start:stop] = forest.position
            fields["offset"][g, start:stop] = forest.offset
            gathered.setdefault(tree.task, []).append((tree, g * length + start))
            segments += max(forest.segment) + 1
            blocks += int(block.max()) + 1
            start = stop
    tasks = {task: _task_rows(trees, vocabulary) for task, trees in sorted(gathered.items())}
    text = torch.from_numpy(np.where((ids < 0) | (ids >= vocabulary), 0, ids))
    return Batch(text, Layout(**{k: torch.from_numpy(v) for k, v in fields.items()}), tasks)


def _task_rows(trees: Sequence[tuple[Tree, int]], vocabulary: int) -> TaskRows:
    samples: list[Encoded] = []
    readout: list[int] = []
    sample_of_row: list[int] = []
    scored: list[tuple[int, int, int]] = []
    pooled: list[tuple[int, int]] = []
    tokens: list[Ints] = []
    ids: list[Ints] = []
    slots: list[Ints] = []
    pieces: list[Piece] = []
    summed: list[tuple[int, ...]] = []
    for tree, start in trees:
        tokens.append(np.arange(start, start + len(tree.forest.ids)))
        ids.append(np.asarray(tree.forest.ids, np.int64))
        slots.append(np.asarray(tree.forest.slot, np.int64))
        pieces.extend(
            replace(piece, place=start + piece.place)
            for piece in tree.forest.pieces
            if 0 <= piece.ids[0] < vocabulary  # prompts and markers are segments of their own
        )
        summed.extend(tuple(start + place for place in places) for _, places in tree.forest.summaries)
        places = iter(tree.forest.places)
        for sample in tree.samples:
            for row in sample.rows:
                place = next(places)
                scored.extend((start + place[t - 1], row.ids[t], len(readout)) for t in row.scored if t > 0)
                pooled.extend((start + t, len(readout)) for t in place[row.readout + 1 - row.pooled : row.readout])
                readout.append(start + place[row.readout])
                sample_of_row.append(len(samples))
            samples.append(sample)
    flat, flat_ids = np.concatenate(tokens), np.concatenate(ids)
    answers = np.asarray(scored, np.int64).reshape(-1, 3)
    further = np.asarray(pooled, np.int64).reshape(-1, 2)
    ends = bool((answers[:, 1] >= vocabulary).any())  # of the markers only [EOS] is ever scored
    prompt, summary = flat_ids < 0, flat_ids >= vocabulary + SUMMARY
    marker = (flat_ids >= vocabulary) & ~summary

    def tensor(values: Ints | list[int]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.int64))

    return TaskRows(
        samples=tuple(s.sample for s in samples),
        indices=tuple(s.index for s in samples),
        pieces=tuple(pieces),
        ends=ends,
        readout=tensor(readout),
        sample_of_row=tensor(sample_of_row),
        scored_from=tensor(answers[:, 0]),
        scored_ids=tensor(np.minimum(answers[:, 1], vocabulary)),
        scored_row=tensor(answers[:, 2]),
        pooled=tensor(further[:, 0]),
        pooled_row=tensor(further[:, 1]),
        tokens=tensor(flat),
        slots=tensor(np.concatenate(slots)),
        text_places=tensor([place for p in pieces for place in range(p.place, p.place + p.length)]),
        prompt_places=tensor(flat[prompt]),
        prompt_slots=tensor(-1 - flat_ids[prompt]),
        marker_places=tensor(flat[marker]),
        marker_slots=tensor(flat_ids[marker] - vocabulary),
        summary_places=tensor(flat[summary]),
        summary_slots=tensor(flat_ids[summary] - vocabulary - SUMMARY),
        summarised=tensor([place for places in summed for place in places]),
        summary_of=tensor([n for n, places in enumerate(summed) for _ in places]),
    )
