"""The segment cache: memory, then disk, then Redis, then computing. A fault anywhere only costs time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import RLock

import torch
from torch import Tensor

from m6rec_core.backbone.hf import Backbone
from m6rec_core.late.counts import CacheCounts, Say, Tally
from m6rec_core.late.encoder import SegmentText, encode_segments
from m6rec_core.late.memory import Arena, Rows
from m6rec_core.late.space import digest_of, live_tag, space_of
from m6rec_core.late.stores import Store, StoreError
from m6rec_core.late.values import DamagedValueError, Stored, from_bytes, restore, store, to_bytes
from m6rec_core.tokens.tree import Piece
from m6rec_core.tuning.task import TaskTuning

RETRY_SECONDS = 10.0
"""A store that failed is left alone for so long."""
WRITE_SEGMENTS = 256
"""Segments that are encoded, and written, at a time."""


@dataclass(frozen=True, slots=True)
class SegmentKey:
    """A segment's place in memory: key space and text."""

    space: str
    text: SegmentText


@dataclass(slots=True)
class _Tier:
    """A store, and when it may be read and written again after a fault: a full disk can still be read."""

    store: Store
    read_at: float = 0.0
    write_at: float = 0.0


class SegmentCache:
    """States of segments after the lower layers, by content (paper 3.3, Fig. 3). Safe to use from several threads.

    It serves every task on `backbone`; see `space_of` for what is shared by whom. Give it to `M6Rec.segments`.
    """

    def __init__(
        self,
        backbone: Backbone,
        memory_bytes: int,
        stores: Sequence[Store] = (),
        eight_bit: bool = False,
        say: Say = lambda _line: None,
    ) -> None:
        """Keep up to `memory_bytes` in memory on the backbone's device, and all of it in `stores`.

        `eight_bit`: keep int8 numbers with a scale per token, a quarter of float32; what is used is then always the
        rounded states, however they were come by. `say` tells the first fault of each tier.
        """
        self._backbone = backbone
        self._eight_bit = eight_bit
        self._arena = Arena(memory_bytes, backbone.spec.hidden, backbone.dtype, backbone.embedding.device, eight_bit)
        self._tiers = [_Tier(one) for one in stores]
        self._tally = Tally(say)
        self._lock = RLock()
        self._spaces: dict[int, tuple[tuple[object, ...], str]] = {}

    @torch.no_grad()
    def gather(self, tuning: TaskTuning, below: int, pieces: Sequence[Piece]) -> Tensor:
        """Return the states of all tokens of `pieces`, in order: [sum of lengths, D]; see `M6Rec.segments`."""
        space = self._space(tuning, below)
        keys = [SegmentKey(space, SegmentText(p.ids, p.mutual)) for p in pieces]
        with self._lock:
            held = [self._arena.find(key) for key in keys]
            found: list[Rows] = [
                rows[p.offset : p.offset + p.length] for rows, p in zip(held, pieces, strict=True) if rows is not None
            ]
            states = self._arena.read(found) if found else None
        self._tally.add("asked", len(pieces))
        self._tally.add("memory", len(found))
        if states is not None and len(found) == len(pieces):
            return states
        recurs = {key: p.recurs for key, p, rows in zip(keys, pieces, held, strict=True) if rows is None}
        fresh = self._fetch(tuning, below, recurs)
        # Text that was asked for more than once here was computed once.
        self._tally.add("memory", len(pieces) - len(found) - len(recurs))
        ready = iter(torch.split(states, [len(rows) for rows in found]) if states is not None else ())
        return torch.cat(
            [
                next(ready) if rows is not None else fresh[key][p.offset : p.offset + p.length]
                for key, p, rows in zip(keys, pieces, held, strict=True)
            ]
        )

    def warm(
        self,
        tuning: TaskTuning,
        below: int,
        segments: Iterable[SegmentText],
        tick: Callable[[int], None] = lambda _segments: None,
    ) -> int:
        """Bring segments into the cache before they are asked for; return how many distinct ones there were.

        `tick(n)` is called as they come in. Not counted as asked for.
        """
        space = self._space(tuning, below)
        wanted = list(dict.fromkeys(SegmentKey(space, segment) for segment in segments))
        with self._lock:
            missing = [key for key in wanted if self._arena.find(key) is None]
        tick(len(wanted) - len(missing))
        missing.sort(key=lambda key: len(key.text.ids))
        for start in range(0, len(missing), WRITE_SEGMENTS):
            part = missing[start : start + WRITE_SEGMENTS]
            self._fetch(tuning, below, dict.fromkeys(part, True), count=False)
            tick(len(part))
        return len(wanted)

    def counts(self) -> CacheCounts:
        """What happened so far."""
        of, arena = self._tally.of, self._arena
        with self._lock:
            return CacheCounts(
                asked=of("asked"), memory=of("memory"), disk=of("disk"), redis=of("redis"), computed=of("computed"),
                evictions=arena.evictions, faults=of("faults"), segments=arena.segments, tokens=arena.tokens,
                bytes=arena.bytes,
            )  # fmt: skip

    def fault(self, tier: str, error: Exception) -> None:
        """Count a fault of a tier that happened outside, in opening it, and tell the first."""
        self._tally.fault(tier, error)

    def forget(self) -> None:
        """Empty the memory tier; the stores keep what they hold."""
        with self._lock:
            self._arena.clear()

    def close(self) -> None:
        """Close the stores."""
        for tier in self._tiers:
            tier.store.close()

    def _space(self, tuning: TaskTuning, below: int) -> str:
        """The key space of a task as its weights are now; hashed anew only when they may have changed."""
        tag = live_tag(self._backbone, tuning, below)
        known = self._spaces.get(id(tuning))
        if known is None or known[0] != tag:
            known = (tag, space_of(self._backbone, tuning, below, self._eight_bit))
            self._spaces[id(tuning)] = known
        return known[1]

    def _fetch(
        self, tuning: TaskTuning, below: int, recurs: dict[SegmentKey, bool], count: bool = True
    ) -> dict[SegmentKey, Tensor]:
        """States of segments that are not in memory, from the stores or computed; those that recur are kept."""
        backbone, device = self._backbone, self._backbone.embedding.device
        kept = self._from_stores([key for key, again in recurs.items() if again], count)
        missing = [key for key in recurs if key not in kept]
        by_text = {key.text: key for key in missing}
        computed: dict[SegmentKey, Stored] = {}
        for text, states in encode_segments(backbone, tuning, below, list(by_text)):
            computed[by_text[text]] = store(states, self._eight_bit)
        self._tally.add("computed" if count else "warmed", len(computed))
        self._to_stores({key: value for key, value in computed.items() if recurs[key]})
        everything = {**kept, **computed}
        with self._lock:
            for key, value in everything.items():
                if recurs[key]:
                    self._arena.put(key, value)
        return {
            key: restore(value.rows.to(device), None if value.scale is None else value.scale.to(device), backbone.dtype)
            for key, value in everything.items()
        }

    def _from_stores(self, keys: Sequence[SegmentKey], count: bool) -> dict[SegmentKey, Stored]:
        found: dict[SegmentKey, Stored] = {}
        for number, tier in enumerate(self._tiers):
            left = [key for key in keys if key not in found]
            if not left or time.monotonic() < tier.read_at:
                continue
            read = self._read(tier, left)
            if count:
                self._tally.add(tier.store.name, len(read))
            found.update(read)
            for nearer in self._tiers[:number]:
                self._write(nearer, read)
        return found

    def _read(self, tier: _Tier, keys: Sequence[SegmentKey]) -> dict[SegmentKey, Stored]:
        try:
            values = tier.store.get([digest_of(key.space, key.text) for key in keys])
        except StoreError as error:
            self._tally.fault(tier.store.name, error)
            tier.read_at = time.monotonic() + RETRY_SECONDS
            return {}
        found: dict[SegmentKey, Stored] = {}
        for key, value in zip(keys, values, strict=True):
            if value is None:
                continue
            try:
                found[key] = from_bytes(value, len(key.text.ids), self._backbone.spec.hidden)
            except DamagedValueError as error:
                self._tally.fault(tier.store.name, error)
        return found

    def _to_stores(self, values: dict[SegmentKey, Stored]) -> None:
        for tier in self._tiers:
            self._write(tier, values)

    def _write(self, tier: _Tier, values: dict[SegmentKey, Stored]) -> None:
        if not values or time.monotonic() < tier.write_at:
            return
        try:
            tier.store.put({digest_of(key.space, key.text): to_bytes(value) for key, value in values.items()})
        except StoreError as error:
            self._tally.fault(tier.store.name, error)
            tier.write_at = time.monotonic() + RETRY_SECONDS
