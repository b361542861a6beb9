"""Text rows that recur in many samples, as items do in histories: each distinct row goes through the backbone once.

A row's state depends on the row alone, so this is exact: late interaction (paper 3.3) taken to its end, where what is
kept of a text is the one state that the head reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import torch

from m6rec_core.errors import RegistryError
from m6rec_core.serving.scoring import Tick, in_order, own_packs
from m6rec_core.tokens.batching import Encoded, collate, plan_packs
from m6rec_core.training.gather import gather_rows
from m6rec_core.types import Prediction, RowStates, Sample

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from m6rec_core.model import M6Rec
    from m6rec_core.tokens.encode import TokenRow

CHUNK_ROWS = 16_384
"""Text rows whose states go to one `decode`: 38 MB of float32 at a width of 576."""


@dataclass(frozen=True, slots=True, eq=False)
class DistinctRows:
    """Q distinct token rows of N samples with R rows.

    `rows` [Q]: each as a sample of its own, whose `index` counts from 0; `index` [R]: which of them each row is;
    `sample_of_row` [R], ascending. `scored`: whether any row has scored tokens.
    """

    rows: tuple[Encoded, ...]
    index: Tensor
    sample_of_row: Tensor
    scored: bool

    @property
    def repeats(self) -> bool:
        """Whether at most half of the rows are distinct, and a head needs no more of them than their read-out state."""
        return self.saves(0)

    def saves(self, known: int) -> bool:
        """The same where the states of `known` distinct rows need not be computed."""
        return not self.scored and 2 * (len(self.rows) - known) <= len(self.index)


Key = tuple[tuple[int, ...], tuple[int, ...], int, int, int]


class KeptStates:
    """States of rows by their content, for as long as nothing tuned below the head changes; on the CPU."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._states: dict[Key, Tensor] = {}
        self._mark = b""

    def known(self, model: M6Rec, name: str, rows: Sequence[Encoded]) -> dict[int, Tensor]:
        """The states kept of these rows, by place; all are forgotten if prompts, markers or adapters have changed."""
        mark = _mark(model, name, rows)
        if mark != self._mark:
            self._states.clear()
            self._mark = mark
        found = ((place, self._states.get(_key(one.rows[0]))) for place, one in enumerate(rows))
        return {place: state for place, state in found if state is not None}

    def keep(self, rows: Sequence[Encoded], states: Tensor) -> None:
        """Keep the states [Q, D] of rows, computed by the model that `known` was last asked with."""
        self._states.update(zip((_key(one.rows[0]) for one in rows), states.cpu().unbind(), strict=True))


def _mark(model: M6Rec, name: str, rows: Sequence[Encoded]) -> bytes:
    """A digest of all that the states of rows depend on besides their text and the frozen backbone."""
    marked = any(max(one.rows[0].ids) >= model.backbone.spec.vocabulary for one in rows)
    parts = [model.tuning(name).state_dict()]
    if any(parameter.requires_grad for parameter in model.backbone.parameters()):
        parts.append(model.backbone.state_dict())
    digest = sha256(f"{name} {marked}".encode())
    for key, value in (pair for part in parts for pair in part.items()):
        if marked or not key.startswith("marker_embeddings."):
            digest.update(key.encode() + value.detach().cpu().double().numpy().tobytes())
    return digest.digest()


def distinct_rows(samples: Sequence[Encoded]) -> DistinctRows:
    """Find the distinct rows of samples of one task: those of the same tokens, segments, regions and read-out."""
    objects: dict[int, int] = {}  # `encode` makes one object of equal texts; the samples keep these alive
    codes: dict[Key, int] = {}
    rows: list[Encoded] = []
    index: list[int] = []
    owner: list[int] = []
    scored = False
    for place, encoded in enumerate(samples):
        for row in encoded.rows:
            code = objects.get(id(row))
            if code is None:
                code = objects[id(row)] = codes.setdefault(_key(row), len(rows))
                if code == len(rows):
                    rows.append(Encoded(encoded.task, code, encoded.sample, (row,)))
                scored = scored or bool(row.scored)
            index.append(code)
            owner.append(place)
    return DistinctRows(tuple(rows), torch.tensor(index), torch.tensor(owner), scored)


def _key(row: TokenRow) -> Key:
    return row.ids, row.segments, row.source, row.readout, row.pooled


def read_states(
    model: M6Rec,
    name: str,
    found: DistinctRows,
    pack_tokens: int,
    device: torch.device,
    accelerator: Accelerator | None = None,
    tick: Tick = lambda _rows: None,
    kept: KeptStates | None = None,
) -> RowStates:
    """Read-out states of all rows, on `device`; with an accelerator its ranks share the work and all get the result.

    `tick(rows)` is called after each forward. What `kept` knows is not computed again, and the rest is kept there.
    """
    known = {} if kept is None else kept.known(model, name, found.rows)
    new = [place for place in range(len(found.rows)) if place not in known]
    asked = [replace(found.rows[place], index=n) for n, place in enumerate(new)]
    computed = _computed(model, name, asked, pack_tokens, device, accelerator, tick)
    if kept is not None:
        kept.keep(asked, computed)
    distinct = computed.new_empty(len(found.rows), computed.shape[1])
    distinct[new] = computed
    if known:
        distinct[list(known)] = torch.stack(list(known.values())).to(computed)
    return RowStates(distinct.to(device), found.index.to(device), found.sample_of_row.to(device))


@torch.no_grad()
def _computed(
    model: M6Rec,
    name: str,
    rows: Sequence[Encoded],
    pack_tokens: int,
    device: torch.device,
    accelerator: Accelerator | None,
    tick: Tick,
) -> Tensor:
    """States [Q, D] of rows by their `index`."""
    packs = plan_packs(rows, pack_tokens, model.backbone.causal)
    places: list[int] = []
    dtype = torch.promote_types(model.backbone.dtype, torch.float32)
    states = [torch.zeros(0, model.backbone.spec.hidden, dtype=dtype, device=device)]
    model.eval()
    for pack in packs if accelerator is None else own_packs(packs, accelerator):
        batch = collate([pack], model.backbone.spec.vocabulary).to(device)
        view = model.views(batch)[name]
        places.extend(batch.tasks[name].indices)
        states.append(view.hidden)
        tick(len(view.samples))
    where, table = torch.tensor(places, dtype=torch.int64), torch.cat(states)
    if accelerator is None:
        return torch.empty_like(table).index_copy_(0, where.to(device), table)
    return gather_rows(accelerator, where, table, len(rows))


@torch.no_grad()
def decode_states(
    model: M6Rec, name: str, samples: Sequence[Sample], states: RowStates, accelerator: Accelerator | None = None
) -> list[Prediction]:
    """Predictions of samples, in order, from the states of their rows; every rank returns all of them.

    Raises RegistryError when the task answers in another order.
    """
    model.eval()
    chunks = list(_chunks(states.sample_of_row, len(samples)))
    if accelerator is not None:
        chunks = chunks[accelerator.process_index :: accelerator.num_processes]
    own: list[tuple[int, Prediction]] = []
    for start, stop, first, last in chunks:
        asked = tuple(samples[start:stop])
        hidden = states.distinct[states.index[first:last]]
        answers = model.decode(name, asked, states.sample_of_row[first:last] - start, hidden)
        for place, sample, answer in zip(range(start, stop), asked, answers, strict=True):
            if answer.id != sample.id:
                raise RegistryError(
                    f"decode of task {name!r} answered sample {answer.id!r} where {sample.id!r} was asked: keep the "
                    "order of view.samples"
                )
            own.append((place, answer))
    if accelerator is not None and accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        own = gather_object(own)
    return in_order(dict(own), len(samples))


def _chunks(sample_of_row: Tensor, count: int) -> Iterator[tuple[int, int, int, int]]:
    """(first sample, stop, first row, stop) of runs of samples with at most `CHUNK_ROWS` rows, but one sample each."""
    ends = torch.bincount(sample_of_row.cpu(), minlength=count).cumsum(0).tolist()
    start = first = 0
    for place in range(1, count + 1):
        if place == count or ends[place] - first > CHUNK_ROWS:
            yield start, place, first, ends[place - 1]
            start, first = place, ends[place - 1]
