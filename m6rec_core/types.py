"""The values that travel through the stages, from a behaviour log to a prediction.

Shape letters used in every docstring: B rows of a batch, N rows (or samples) of one task, T tokens, S segments, D
hidden width, H heads, L layers, V vocabulary, K top-k, P soft prompts, C options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from m6rec_core.config import DecodingConfig, EvaluationConfig, TaskConfig
    from m6rec_core.logs.schema import Logs


class Region(StrEnum):
    """The two regions of a row (paper Fig. 1): text about the user, and text about the candidate or answer."""

    BIDIRECTIONAL = "bidirectional"
    AUTOREGRESSIVE = "autoregressive"


class Readout(StrEnum):
    """The position whose final hidden state a head reads: the last token of the source or of the target.

    With markers on these are [EOS'] and [EOS] (paper 3.2).
    """

    SOURCE = "source"
    TARGET = "target"


class Pooling(StrEnum):
    """What of a row's final hidden states a head gets: that at the read-out, or the mean over the read-out's region.

    The paper reads one position (3.2); the mean is over all tokens of the region up to the read-out, soft prompts left
    out.
    """

    LAST = "last"
    MEAN = "mean"


class LossScope(StrEnum):
    """Whether a row's loss depends on that row alone or on the whole batch (in-batch negatives)."""

    ROW = "row"
    BATCH = "batch"


class FrozenModel(BaseModel):
    """Pydantic settings shared by every value that crosses a file boundary: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(FrozenModel):
    """An item as the logs describe it; `fields` holds the text columns of the items table (title, category, ...)."""

    item_id: str
    fields: Mapping[str, str] = Field(default_factory=dict)


class Event(FrozenModel):
    """One thing a user did. `liked` is the event's outcome under the task's label rule, None where it has none.

    `statistics` are numbers counted from rows strictly before this event (see `m6rec_core.logs.statistics`).
    """

    model_config = ConfigDict(allow_inf_nan=False)

    item: Item
    kind: str
    timestamp: float
    liked: bool | None = None
    statistics: Mapping[str, float] = Field(default_factory=dict)


class Sample(FrozenModel):
    """What every task's sample has. Tasks subclass it with their own fields. Its numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)

    id: str

    @property
    def group(self) -> str:
        """Samples of one group share text and are drawn together when a run uses fewer; by default each is its own."""
        return self.id


class BehaviourSample(Sample):
    """A user, what they did before `timestamp` (oldest first), and a candidate item.

    `statistics` are counted from rows strictly before `timestamp`.
    """

    user_id: str
    user: Mapping[str, str] = Field(default_factory=dict)
    history: tuple[Event, ...] = ()
    candidate: Item
    timestamp: float
    statistics: Mapping[str, float] = Field(default_factory=dict)


class Prediction(FrozenModel):
    """What every task's prediction has: the id of the sample it answers."""

    id: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A span of text that can be encoded, cached and dropped as a whole.

    `droppable` segments go first (in order, oldest history first) when a row is longer than the budget.
    `scored` marks text whose tokens are the answer of a likelihood or generation task.
    `cacheable` says that the text recurs across requests, so that late interaction may keep its states.
    `age`: seconds from what the text tells to the moment of the row, for `tuning.segment_embeddings` "age"; None where
    it has no time.
    """

    text: str
    region: Region
    droppable: bool = False
    scored: bool = False
    cacheable: bool = True
    age: float | None = None


@dataclass(frozen=True, slots=True)
class TextRow:
    """One row of text for the backbone. Segments of the bidirectional region precede the autoregressive ones.

    `markers` writes [BOS'] source [EOS'] [BOS] target [EOS] as the paper does; off for pretrained causal
    backbones that never saw markers, where the read-out is the last text token of the region. `scored_end`: [EOS] is
    the last token of the answer, so that a task learns where to stop; it needs markers. `pooling`: whether the head
    gets the read-out's state or the mean of its region.
    """

    segments: tuple[Segment, ...]
    readout: Readout = Readout.TARGET
    markers: bool = True
    scored_end: bool = False
    pooling: Pooling = Pooling.LAST


@dataclass(frozen=True, slots=True)
class Serialized:
    """A sample as text: one row for most tasks, two for a retrieval pair, one per candidate for zero-shot scoring."""

    rows: tuple[TextRow, ...]


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What a head may know of a backbone. `attention` is how it was pretrained: causal, or prefix (paper Fig. 1)."""

    name: str
    sha256: str
    hidden: int
    layers: int
    vocabulary: int
    parameters: int
    attention: str


@dataclass(frozen=True, slots=True)
class ScoredTokens:
    """The tokens of scored segments, for likelihood heads.

    `hidden` [M, D]: final hidden state at the position that predicts each token; `ids` [M], V for a scored [EOS]; `row`
    [M] into the view's rows.
    """

    hidden: Tensor
    ids: Tensor
    row: Tensor


@dataclass(frozen=True, slots=True)
class TaskView:
    """The rows of one task in a (possibly mixed) batch: N samples, R text rows.

    `samples`: N samples in batch order. `sample_of_row` [R]: index into samples. `hidden` [R, D] float32: the final
    hidden state at each row's read-out. `options` [C, D] or None: the soft options, when the tuning mode has them.
    `vocabulary`: maps hidden states [.., D] to logits [.., V] with the backbone's own output layer; where [EOS] is
    scored (`TextRow.scored_end`) to logits [.., V + 1], the last of which is [EOS].
    """

    task: str
    samples: tuple[Sample, ...]
    sample_of_row: Tensor
    hidden: Tensor
    options: Tensor | None
    scored: ScoredTokens
    vocabulary: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Written:
    """A text that the model wrote. `tokens`: its length, the stop included. `finished`: it stopped by itself.

    `log_likelihood`: log p of its tokens under the model as it is, whatever sampling, penalties or constraints did.
    """

    text: str
    tokens: int
    log_likelihood: float
    finished: bool


class Generate(Protocol):
    """Continues rows of text; given to `decode` for tasks that write text.

    A row ends where the text is to go on: without its answer, so without scored segments. The core leaves [EOS] out.
    """

    def __call__(self, rows: Sequence[TextRow], max_new_tokens: int) -> Sequence[str]:
        """Return the likeliest continuation of each row, token by token, of at most `max_new_tokens` tokens."""
        ...

    def write(
        self, rows: Sequence[TextRow], config: DecodingConfig, allowed: Sequence[str] | None = None
    ) -> Sequence[Sequence[Written]]:
        """Return the texts of each row, at most `config.texts`, best first (samples: in the order drawn).

        `allowed`: every text is one of these, whole; hand over the same tuple each time and its index is built once.
        """
        ...

    def stream(self, row: TextRow, config: DecodingConfig, allowed: Sequence[str] | None = None) -> Iterator[str]:
        """Yield the one text of a row piece by piece, in whole characters; beam search cannot be streamed."""
        ...


@runtime_checkable
class PreparedHead(Protocol):
    """A head that wants to see the training samples once, before the first step.

    A head built by `build_head` may have this method; the core calls it on every process with the same samples, on a
    fresh head only (never on one loaded from a task pack), and it must be deterministic. It sets buffers and starting
    values (the scale of numeric features, a bias), all of which belong to the head's state.
    """

    def prepare(self, samples: Sequence[Sample]) -> None:
        """Set buffers and starting values from the training samples, n >= 1; may raise DataError."""
        ...


@runtime_checkable
class ClassHead(Protocol):
    """A head that classifies samples of one text row each over the soft options.

    A head may have this method; with `tuning.init` "fitted" the core then starts the soft options at a closed-form fit
    to these classes on the training samples.
    """

    def option_indices(self, samples: Sequence[Sample]) -> Sequence[int]:
        """Return the index of each sample's true option, 0 .. C-1; may raise DataError for a missing label."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RowStates:
    """Read-out states of the text rows of samples, each distinct row once.

    `distinct` [Q, D]: one state per distinct row. `index` [R]: which of them each row has. `sample_of_row` [R]: the
    sample of each row, ascending; the rows of a sample keep their order.
    """

    distinct: Tensor
    index: Tensor
    sample_of_row: Tensor

    @property
    def rows(self) -> Tensor:
        """The state of each row [R, D]."""
        return self.distinct[self.index]


@runtime_checkable
class FittedHead(Protocol):
    """A head that is fitted to the frozen backbone's states before the first step: in closed form, or by steps of its
    own, which cost little because the states are computed once.

    A head may have this method; with `tuning.init` "fitted" the core calls it once before the first step, on every
    process with the same arguments, after `prepare`, without gradients; it must be deterministic.
    """

    def fit(self, samples: Sequence[Sample], states: RowStates, say: Callable[[str], None]) -> None:
        """Set parameters and buffers from the training samples, n >= 1, and the states of their text rows; `say` tells
        the user one line."""
        ...


class Answer(Protocol):
    """Asks the tuned task for predictions, the work split over all processes."""

    def __call__(self, samples: Sequence[Sample], title: str) -> Sequence[Prediction]:
        """Return the prediction of each sample, in order, on every process; `title` names the progress bar."""
        ...


class Losses(Protocol):
    """Asks the tuned task for losses, the work split over all processes."""

    def __call__(self, samples: Sequence[Sample], title: str) -> Sequence[float]:
        """Return what `compute_loss` gives for each sample, in order, on every process.

        Of a task whose loss depends on its batch (`LossScope.BATCH`) these depend on how the samples were packed.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RunView:
    """A run as an `Evaluation` sees it, the same on every process but for `main`, the one that writes and prints.

    `parts`: the samples of "train", "valid" and "test" that the run uses. `logs`: what they were derived from, None
    where they were read from sample files. `seed` also draws the training rows. `say` tells the user one line.
    `output`: folder of the run, for pictures and other files of the task's own (main process only); None where a pack
    is evaluated without a run. `untuned`: the same task over the bare backbone, no soft prompts, no adapters and a
    fresh head, to compare with; None where the backbone itself was tuned.
    """

    parts: Mapping[str, Sequence[Sample]]
    settings: TaskConfig
    evaluation: EvaluationConfig
    logs: Logs | None
    answer: Answer
    losses: Losses
    seed: int
    main: bool
    say: Callable[[str], None]
    output: Path | None
    untuned: Answer | None = None


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table for people: the first row of `rows` is the model's."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation found: tables and facts to print, numbers for `metrics.json`, rows of `predictions.parquet`.

    Every metric comes with its interval, and beside the trivial baselines on the same rows.
    """

    tables: tuple[ReportTable, ...]
    facts: tuple[tuple[str, str], ...]
    metrics: Mapping[str, Any]
    predictions: Sequence[Mapping[str, Any]] = ()


@runtime_checkable
class Evaluation(Protocol):
    """How a run of a task that is not "one label and one score per sample" chooses its best step and reports.

    Both are called on all processes, which must make the same calls of `run.answer` and `run.losses`.
    """

    def valid(self, run: RunView) -> Mapping[str, float]:
        """Return metrics of the valid part, called at every evaluation of the tuning. The first decides, higher is
        better."""
        ...

    def test(self, run: RunView) -> Report:
        """Return the report on the test part, called once; what only `run.main` needs may be left out elsewhere."""
        ...


Derive = Callable[["Logs", "TaskConfig", int], Mapping[str, Sequence[Sample]]]
"""Behaviour logs, the task's settings and a seed to the samples of "train", "valid" and "test", whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskManifest:
    """What a plugin says about its task. It is data: nothing here runs before the task is used.

    `hook_api`: the (lowest, highest) hook API version the plugin works with. `label_field`: the field of `sample` that
    holds the answer; the core hides it to check that it never reaches the text. `score_field`: the field of
    `prediction` that ranks. `metrics`: names from `m6rec_core.metrics.METRICS`. `baselines`: names from
    `m6rec_core.baselines.TRIVIAL`; those of installed `m6rec.baselines` entry points are added by the run. `variants`:
    name -> another field of `prediction` that is reported beside `score_field` (a model without its calibration, say);
    scores and variants are probabilities. `quick`: run settings of a first run without further options, by dotted name;
    they keep it within minutes, are printed, and any of them can be set otherwise. `derive`: makes the task's samples
    from behaviour logs; None for the core's own (`BehaviourSample`). `evaluation`: chooses and reports in a run; None
    for one label and one score per sample, compared with the baselines by `metrics`.
    """

    task: str
    summary: str
    hook_api: tuple[int, int]
    sample: type[Sample]
    prediction: type[Prediction]
    config: type[TaskConfig]
    loss_scope: LossScope = LossScope.ROW
    label_field: str = "label"
    score_field: str = "score"
    metrics: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    variants: Mapping[str, str] = field(default_factory=dict)
    default_data: str = "ml-100k"
    quick: Mapping[str, object] = field(default_factory=dict)
    derive: Derive | None = None
    evaluation: Evaluation | None = None
