"""Every setting of a run, validated at the edge. Unknown keys are refused; nothing is filled in silently later.

A resolved `RunConfig` is written to `config.yaml` in the output folder and, with the pack, is enough to repeat the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SerializeAsAny, model_validator

from m6rec_core.types import FrozenModel

Mode = Literal["fine-tuning", "adapter", "prompt", "option", "option-adapter"]
SegmentOrder = Literal["none", "kind", "order", "recency", "age"]
AdapterPlace = Literal["ffn", "attention"]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class Domain(FrozenModel):
    """How a domain speaks (stage `text`). Templates name text columns, `{title}`, and may have optional parts in
    `[..]` (`m6rec_core.text.template` has the rules).

    `noun`: what an item is ("movie"). `people`: who judges them ("viewers"). `item`: the item phrase used inside
    sentences. `short_item`: the compact phrase used in in-context lines. `user`: the user phrase, left out when a field
    is missing. `events`: event kind -> verb phrase ("clicked"). `liked`, `disliked`: the answer words of an outcome.
    """

    name: str
    noun: str
    people: str
    item: str
    short_item: str
    user: str = ""
    events: dict[str, str] = Field(default_factory=dict)
    liked: str = "liked"
    disliked: str = "disliked"


class LabelRule(FrozenModel):
    """An event is positive when its `value` is at least `at_least`; a kind in `positive_kinds` always is."""

    at_least: float | None = 4.0
    positive_kinds: tuple[str, ...] = ()


class HistoryRule(FrozenModel):
    """Which earlier events a sample sees: all whose time is strictly before the target's, from an anchored start.

    The window starts at a multiple of `stride` events, at least `events` before the target where there are as many, so
    a sample sees between `events` and `events + stride - 1` of them. `stride` 1 is "exactly the last `events`"; a
    longer stride lets neighbouring samples of one user share their text, and so their computation.
    """

    events: int = Field(default=10, ge=0)
    stride: int = Field(default=1, ge=1)


class SplitRule(FrozenModel):
    """Time split: rows by time, first `train`, next `valid`, the rest test; or the day split of ReChorus for ml-1m."""

    kind: Literal["time", "rechorus-days"] = "time"
    train: Fraction = 0.8
    valid: Fraction = 0.1

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> SplitRule:
        if self.train + self.valid >= 1.0:
            raise ValueError("train + valid must be below 1 so that some rows are left for the test")
        return self


class SamplingConfig(FrozenModel):
    """How samples are derived from logs."""

    target_kinds: tuple[str, ...] = ()
    label: LabelRule = LabelRule()
    history: HistoryRule = HistoryRule()
    split: SplitRule = SplitRule()


class TaskConfig(FrozenModel):
    """Settings every task has; plugins subclass it. `options` are the answer words that initialise the soft options.

    A task that changes a nested setting (`decoding: DecodingConfig = DecodingConfig(stop=...)`) keeps its change when a
    user sets another part of it. `domain` is resolved by the core from the data set before a plugin sees it.
    `instruction` initialises soft prompts. `soft_options` follows from the tuning mode, set by the core: False tells
    `build_head` that `TaskView.options` will be None and that the head brings its own classifier (paper 3.4;
    `m6rec_core.tuning.modes`).
    """

    domain: Domain | None = None
    sampling: SamplingConfig = SamplingConfig()
    options: tuple[str, ...] = ()
    instruction: str = ""
    soft_options: bool = True
    max_tokens: int = Field(default=512, ge=8)

    @model_validator(mode="before")
    @classmethod
    def _keep_defaults(cls, given: Any) -> Any:
        return over_defaults(cls, given) if isinstance(given, Mapping) else given


def over_defaults(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given` with what the defaults of `model` set in each nested model that `given` names in part.

    Only what a default sets explicitly is added, so that the choice of another kind does not meet parts of the first.
    """
    tree = dict(given)
    for name, value in given.items():
        default = model.model_fields[name].default if name in model.model_fields else None
        if isinstance(default, BaseModel) and isinstance(value, Mapping):
            tree[name] = over_defaults(type(default), merge(default.model_dump(exclude_unset=True), value))
    return tree


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """A tree with the branches of both; `high` wins."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


class DecodingConfig(FrozenModel):
    """How text is written (`m6rec_core.decoding`). Tasks that write hold one in their settings, as `decoding`.

    `texts`: how many per row, best first. `beams`: hypotheses kept per row by beam search; scores are divided by
    length ** `length_penalty`. `temperature`, `top_k` (0: all), `top_p`, `seed`: of sampling; the seed, the row and the
    number of the text decide what is drawn, nothing else. `repetition_penalty` multiplies the (negative)
    log-probability of tokens that this text already has; `no_repeat_ngram` forbids to write n tokens twice (0: off);
    both look at the written text only, so that titles of the prompt may be named. `stop`: strings that end a text and
    do not belong to it, beside [EOS] (rows with markers) or the tokenizer's end token (rows without).
    """

    method: Literal["greedy", "beam", "sample"] = "greedy"
    max_new_tokens: int = Field(default=64, ge=1)
    min_new_tokens: int = Field(default=0, ge=0)
    texts: int = Field(default=1, ge=1)
    beams: int = Field(default=4, ge=1)
    length_penalty: float = Field(default=1.0, ge=0.0)
    temperature: float = Field(default=1.0, gt=0.0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, ge=1.0)
    no_repeat_ngram: int = Field(default=0, ge=0)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> DecodingConfig:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError("min_new_tokens must not exceed max_new_tokens")
        if self.method == "greedy" and self.texts > 1:
            raise ValueError("greedy decoding writes one text per row: choose beam or sample for several")
        if self.method == "beam" and self.texts > self.beams:
            raise ValueError("texts must not exceed beams")
        return self

    @property
    def lanes(self) -> int:
        """How many texts are written side by side for one row."""
        return self.beams if self.method == "beam" else self.texts


class TuningConfig(FrozenModel):
    """Which parameters train, how many and from which start (paper 3.4, design 6).

    `prompts` counts soft prompts, options included; None lets the budget choose. `adapter_layers`: how many of the last
    layers get an adapter, "all" layers, "late" for those of late interaction, None for the most that `budget` allows
    (with late interaction: of the upper layers only, so that the lower ones stay shared by all tasks). `adapter_rank`:
    None is D / H. `adapter_places`: where in a layer they sit, beside the feed-forward network ("ffn", the paper's) or
    on the input of the attention. `init`: "informed" starts from token embeddings of the instruction and the answer
    words; "fitted" then fits the soft options in closed form to the frozen read-out states of the training rows
    (`m6rec_core.tuning.fit`); "teacher" starts from the teacher's tuned parts where they have the same name and shape;
    "random" is for comparison.

    `late_layers` K: the lower L - K layers see one segment at a time, the upper K the whole row (paper 3.3); 0 is the
    full model. `segment_embeddings`: what is added to the lower layers' output, by `kind` of segment, by kind and place
    counted from the row's beginning (`order`) or end (`recency`), by kind and time passed (`age`), or nothing.
    `late_prompts`: whether soft prompts go through the lower layers as a segment of their own ("input") or enter above
    them ("late").

    `segment_summaries`: so many tokens after each source segment that recurs, which enter above the lower layers with
    the segment's mean state.

    `student_layers` N: only the first N layers of the backbone are used, then its final norm: a smaller model (paper
    Table 6); 0 uses all. With `late_layers` K the upper K of these N see the whole row, the lower N - K segments.

    `teacher`: a pack or run folder of the same task and backbone, usually the full model. `teacher_weight` times the
    distance of the read-out states, and `teacher_score_weight` times that of the choices among soft options, are added
    to the loss of each sample in training (`m6rec_core.tuning.teaching`).
    """

    mode: Mode = "option-adapter"
    budget: Fraction = 0.01
    prompts: int | None = Field(default=None, ge=0)
    max_prompts: int = Field(default=16, ge=1)
    adapter_rank: int | None = Field(default=None, ge=1)
    adapter_layers: Annotated[int, Field(ge=0)] | Literal["all", "late"] | None = None
    adapter_places: tuple[AdapterPlace, ...] = Field(default=("ffn",), min_length=1)
    train_markers: bool = True
    init: Literal["fitted", "informed", "random", "teacher"] = "fitted"
    late_layers: int = Field(default=0, ge=0)
    segment_embeddings: SegmentOrder = "order"
    late_prompts: Literal["input", "late"] = "input"
    segment_summaries: int = Field(default=0, ge=0, le=8)
    student_layers: int = Field(default=0, ge=0)
    teacher: str | None = None
    teacher_weight: float = Field(default=1.0, ge=0)
    teacher_score_weight: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> TuningConfig:
        if self.student_layers and self.late_layers > self.student_layers:
            raise ValueError("late_layers must not exceed student_layers: the upper layers are among those used")
        if self.init == "teacher" and self.teacher is None:
            raise ValueError("init teacher needs a teacher: set tuning.teacher to the folder of a run")
        return self


class TrainingConfig(FrozenModel):
    """The optimiser, the batches and when to stop. One step sees `packs_per_step` packs of `pack_tokens` tokens.

    `lr`: of adapters and heads (of all weights in the mode fine-tuning). `prompt_lr`: of soft prompts, options
    and markers; None takes `lr`. `packs_per_forward`: None is one, and where states come from the segment cache two on
    a CPU, eight elsewhere; the result does not depend on it.
    """

    epochs: int = Field(default=1, ge=1)
    max_steps: int | None = Field(default=None, ge=0)
    lr: float = Field(default=2e-4, gt=0)
    prompt_lr: float | None = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip_norm: float = Field(default=1.0, gt=0)
    pack_tokens: int = Field(default=512, ge=16)
    packs_per_step: int = Field(default=4, ge=1)
    packs_per_forward: int | None = Field(default=None, ge=1)
    evaluations: int = Field(default=2, ge=1)
    patience: int = Field(default=3, ge=1)
    checkpoints: int = Field(default=4, ge=0)
    precision: Literal["auto", "bf16", "fp32", "fp64"] = "auto"
    trackers: tuple[Literal["tensorboard"], ...] = ()
    seed: int = 0


class CacheConfig(FrozenModel):
    """The segment cache of late interaction: `memory_mb` in memory; a `folder` on disk that grows to `disk_mb` and may
    be shared by processes; a `redis` server (its URL), where values live for `redis_seconds`, None for ever.
    `eight_bit` stores a quarter of the bytes, rounded.
    """

    memory_mb: int = Field(default=1024, ge=1)
    folder: str | None = None
    disk_mb: int = Field(default=8192, ge=1)
    redis: str | None = None
    redis_seconds: int | None = Field(default=None, ge=1)
    eight_bit: bool = False


class EvaluationConfig(FrozenModel):
    """Test-time settings. `rows` limits the rows scored (whole prefix groups, chosen by seed); None scores all."""

    rows: int | None = Field(default=None, ge=1)
    valid_rows: int | None = Field(default=1000, ge=1)
    bootstrap: int = Field(default=1000, ge=10)
    cold_below: int = Field(default=5, ge=1)
    baselines: tuple[str, ...] | None = None


class RunConfig(FrozenModel):
    """One run of `m6rec run`. `shots` limits the training rows, None uses all, 0 evaluates the untuned start;
    `settings` are the task's own.
    """

    task: str
    data: str
    backbone: str = "smollm2-135m"
    shots: int | None = Field(default=None, ge=0)
    settings: SerializeAsAny[TaskConfig] = TaskConfig()
    tuning: TuningConfig = TuningConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    cache: CacheConfig = CacheConfig()
