"""The retrieval baselines: SASRec (two losses), YouTubeDNN, and two text two-towers, trained by one loop.

Entry points of group `m6rec.retrievers`. Shapes as in `next_item`; M real positions of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from m6rec_core.baselines.data import IntArray
from m6rec_core.baselines.full_ranking import full_ranking
from m6rec_core.baselines.retrieval import (
    NOT_SCORED,
    Facts,
    FittedRetriever,
    Float32Array,
    RetrievalData,
    RetrievalRows,
)
from m6rec_core.errors import ConfigError
from m6rec_core.heads.full_softmax import full_cross_entropy
from m6rec_core.logs.leave_one_out import BoolArray
from m6rec_core.metrics.retrieval import ndcg
from m6rec_plugin_baselines.early_stopping import Fit, StopRule, train_to_best
from m6rec_plugin_baselines.next_item import IdVectors, MeanReader, NextItemNetwork, TextVectors, TransformerReader
from m6rec_plugin_baselines.sequences import TrainingBatch, pad, training_batches, windows
from m6rec_plugin_baselines.words import ItemWords, item_words

SCORING_BATCH = 64

Loss = Literal["all-items", "one-negative"]


@dataclass(frozen=True, slots=True)
class RetrieverSettings:
    """Settings of one retriever (docs/experiments/retrieval-baselines.md says how they were chosen).

    `reader`: "transformer" or "mean"; `vectors`: "ids" or "words". `length`: events of a history that are read;
    `every_window`: whether longer histories train on all their events or only on the last ones. `loss`: cross-entropy
    over all trained items, or the binary one with one sampled negative of the original SASRec. `temperature` as in
    `NextItemNetwork`. `batch` in windows. `valid_rows`: at most so many rows say when to stop. `minutes` as in
    `StopRule`.
    """

    reader: str = "transformer"
    vectors: str = "ids"
    loss: Loss = "all-items"
    width: int = 64
    length: int = 200
    blocks: int = 2
    heads: int = 1
    dropout: float = 0.2
    word_dropout: float = 0.0
    temperature: float = 0.0
    every_window: bool = False
    lr: float = 1e-3
    weight_decay: float = 0.0
    batch: int = 64
    epochs: int = 200
    patience: int = 10
    minutes: float = 0.0
    valid_rows: int = 2048

    def __post_init__(self) -> None:
        """Refuse words that mean nothing and heads that do not divide the width."""
        for name, known in (
            ("reader", ("transformer", "mean")),
            ("vectors", ("ids", "words")),
            ("loss", ("all-items", "one-negative")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"retriever settings: {name} is {getattr(self, name)!r}; give {' or '.join(known)}")
        if self.width % self.heads:
            raise ConfigError(f"retriever settings: {self.heads} heads do not divide a width of {self.width}")


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """Which items [I] may stand in a history, which get a score, and the codes [K] that training chooses among."""

    read: BoolArray
    scored: BoolArray
    trained: IntArray

    def history(self, codes: Sequence[int], length: int) -> IntArray:
        """Return the last `length` readable events of a history."""
        found = np.asarray(codes, dtype=np.int64)
        return found[self.read[found]][-length:]


@dataclass(frozen=True, slots=True, eq=False)
class FittedNetwork:
    """A trained network as `m6rec_core.baselines.FittedRetriever`."""

    network: NextItemNetwork
    scope: Scope
    length: int
    fallback: Float32Array
    """Scores [I] for a history without a readable event: the number of training events."""
    info: Facts = field(default_factory=dict)

    def scores(self, histories: Sequence[Sequence[int]]) -> Float32Array:
        """See `FittedRetriever`. A history without a known event is answered by popularity."""
        found = np.empty((len(histories), len(self.scope.read)), dtype=np.float32)
        with torch.inference_mode():
            known, compared = self.network.item_vectors()
            for start in range(0, len(histories), SCORING_BATCH):
                read = [self.scope.history(one, self.length) for one in histories[start : start + SCORING_BATCH]]
                batch = pad(read)
                users = self.network.users(batch, known)[torch.arange(len(read)), batch.length - 1]
                found[start : start + len(read)] = (users @ compared.T).numpy()
                found[start : start + len(read)][[one.size == 0 for one in read]] = self.fallback
        found[:, ~self.scope.scored] = NOT_SCORED
        return found


@dataclass(frozen=True, slots=True)
class NextItemRetriever:
    """A `m6rec_core.baselines.Retriever` that predicts each next item of the training sequences.

    `word_vectors`: word -> pretrained vector to begin with (say, a backbone's token embeddings), None for none.
    """

    name: str
    settings: RetrieverSettings
    word_vectors: Mapping[str, Sequence[float]] | None = None

    def fit(self, data: RetrievalData, valid: RetrievalRows, seed: int, say: Callable[[str], None]) -> FittedRetriever:
        """Train until the valid NDCG@10 stops rising and keep the best weights. See `Retriever`."""
        settings, counts = self.settings, data.counts()
        scope = _scope(counts, settings.vectors)
        found = windows(data.train, settings.length, settings.every_window)
        rows = _valid_rows(valid, counts > 0, settings.valid_rows, seed)
        # Weights, dropout and negatives draw from torch's global generator: lend it our seed, give it back unchanged.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._network(data, counts > 0)
            fitted = FittedNetwork(network, scope, settings.length, counts.astype(np.float32))
            fit = _train(fitted, found, rows, settings, (seed, say)) if found and scope.trained.size > 1 else None
        network.eval()
        info = _info(settings, network, fit, len(found))
        return FittedNetwork(network, scope, settings.length, counts.astype(np.float32), info)

    def _network(self, data: RetrievalData, trained: BoolArray) -> NextItemNetwork:
        chosen = self.settings
        items: nn.Module = IdVectors(len(data.items), chosen.width)
        if chosen.vectors == "words":
            words = item_words(data.item_texts(), trained, 1 if self.word_vectors else 2)
            items = TextVectors(words, _start(words, self.word_vectors), chosen.width, chosen.word_dropout)
        reader: nn.Module = MeanReader(chosen.width, chosen.length, chosen.dropout)
        if chosen.reader == "transformer":
            reader = TransformerReader(chosen.width, chosen.length, chosen.blocks, chosen.heads, chosen.dropout)
        return NextItemNetwork(items, reader, chosen.temperature)


def _scope(counts: IntArray, vectors: str) -> Scope:
    """Ids know only items with training events; words know every item."""
    trained = counts > 0
    known = trained if vectors == "ids" else np.ones(len(counts), dtype=bool)
    return Scope(read=known, scored=known, trained=np.flatnonzero(trained))


def _valid_rows(valid: RetrievalRows, trained: BoolArray, most: int, seed: int) -> RetrievalRows:
    """Up to `most` rows, drawn by seed, whose target can be learned: others would only add noise to the stopping."""
    usable = np.flatnonzero(trained[valid.targets])
    chosen = np.zeros(len(valid), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(usable)[:most]] = True
    return valid.where(chosen)


def _start(words: ItemWords, vectors: Mapping[str, Sequence[float]] | None) -> Tensor | None:
    """Pretrained vectors [W, .] in the order of the word ids, zeros for words without one, or None."""
    if not vectors:
        return None
    start = torch.zeros(words.count, len(next(iter(vectors.values()))))
    for code, word in enumerate(words.vocabulary, start=1):
        if word in vectors:
            start[code] = torch.as_tensor(vectors[word])
    return start


def _train(
    fitted: FittedNetwork,
    found: Sequence[IntArray],
    rows: RetrievalRows,
    settings: RetrieverSettings,
    random: tuple[int, Callable[[str], None]],
) -> Fit:
    """Train the network of `fitted` in place. `random`: the seed, and where progress lines go."""
    seed, say = random
    network, order = fitted.network, np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
    )
    choose = _Loss(fitted.scope, settings.loss)

    def epoch(number: int) -> float:
        total, count = 0.0, 0
        for batch in training_batches(found, settings.batch, order):
            loss = choose(network, batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            size = int(batch.inputs.length.sum())
            total, count = total + float(loss.detach()) * size, count + size
        return total / max(count, 1)

    def measure() -> float:
        rank = full_ranking(fitted, rows, top=0).rank
        items = len(fitted.scope.read)
        return ndcg(rank, items, min(10, items)).value

    rule = StopRule(settings.epochs, settings.patience, settings.minutes)
    return train_to_best(network, epoch, measure if len(rows) else None, rule, say)


class _Loss:
    """The mean loss over the real positions of a batch."""

    def __init__(self, scope: Scope, kind: Loss) -> None:
        self.trained = torch.from_numpy(scope.trained)
        self.place = torch.zeros(len(scope.read), dtype=torch.int64)
        self.place[self.trained] = torch.arange(len(self.trained))
        self.kind = kind

    def __call__(self, network: NextItemNetwork, batch: TrainingBatch) -> Tensor:
        known, compared = network.item_vectors()
        real = batch.inputs.real()
        users, target = network.users(batch.inputs, known)[real], batch.target[real]
        if self.kind == "all-items":
            return full_cross_entropy(users, compared[self.trained], self.place[target])
        negative = self._negatives(batch)[real]
        scores = torch.stack([(users * compared[code]).sum(-1) for code in (target, negative)])
        wanted = torch.tensor([[1.0], [0.0]]).expand_as(scores)
        return 2.0 * binary_cross_entropy_with_logits(scores, wanted)

    def _negatives(self, batch: TrainingBatch) -> Tensor:
        """One trained item per position [B, T], drawn again (a few times at most) while the user has it."""
        owned = torch.zeros(batch.target.shape[0], len(self.place), dtype=torch.bool)
        owned.scatter_(1, torch.where(batch.inputs.real(), batch.target, batch.inputs.codes[:, :1]), True)
        drawn = self.trained[torch.randint(len(self.trained), batch.target.shape)]
        for _ in range(8):
            again = owned.gather(1, drawn)
            if not again.any():
                break
            drawn[again] = self.trained[torch.randint(len(self.trained), (int(again.sum()),))]
        return drawn


def _info(settings: RetrieverSettings, network: nn.Module, fit: Fit | None, found: int) -> Facts:
    info: dict[str, float | int | str | bool] = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "windows": found,
        "loss": settings.loss,
        "width": settings.width,
    }
    if fit is None:
        return info | {"epochs": 0}
    info |= {"epochs": fit.epochs, "best_epoch": fit.best_epoch, "stopped": fit.stopped}
    if np.isfinite(fit.best):
        info["valid_ndcg@10"] = round(fit.best, 6)
    return info | {"train_seconds": round(fit.seconds, 1)}


SASREC_CE = NextItemRetriever("sasrec-ce", RetrieverSettings())
SASREC_BCE = NextItemRetriever("sasrec-bce", RetrieverSettings(loss="one-negative", batch=128))
YOUTUBE_DNN = NextItemRetriever("youtube-dnn", RetrieverSettings(reader="mean", length=50, every_window=True))
TWIN_TEXT = NextItemRetriever(
    "twin-text",
    RetrieverSettings(
        reader="mean", vectors="words", temperature=0.07, length=20, every_window=True, word_dropout=0.2, dropout=0.1
    ),
)
TWIN_TEXT_TRANSFORMER = NextItemRetriever(
    "twin-text-transformer",
    RetrieverSettings(vectors="words", temperature=0.07, length=50, word_dropout=0.2, every_window=True),
)
