"""Put a task together with its tuned parts, and its samples into token rows: what tuning, serving and tests share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from m6rec_core.config import TaskConfig, TuningConfig
from m6rec_core.errors import ConfigError, PackError
from m6rec_core.hookspecs import HOOK_API
from m6rec_core.model import TunedTask
from m6rec_core.tokens.batching import Encoded
from m6rec_core.tokens.encode import RowEncoder, TokenRow
from m6rec_core.tuning.budget import TuningPlan, plan
from m6rec_core.tuning.modes import MODES
from m6rec_core.tuning.pack import PackManifest, check_pack, load_state, read_manifest
from m6rec_core.tuning.task import build_tuning
from m6rec_core.types import Sample, TextRow

if TYPE_CHECKING:
    from torch import nn

    from m6rec_core.backbone.hf import Backbone
    from m6rec_core.registry import Task


@dataclass(frozen=True, slots=True)
class Assembled:
    """A task ready to tune or to use, and the sizes it was built with."""

    tuned: TunedTask
    plan: TuningPlan


@dataclass(frozen=True, slots=True)
class EncodedSamples:
    """Samples as token rows, and how often the length budget cut one."""

    samples: tuple[Encoded, ...]
    truncated_rows: int
    dropped_segments: int


def assemble(
    task: Task,
    settings: TaskConfig,
    tuning: TuningConfig,
    backbone: Backbone,
    seed: int,
    sizes: TuningPlan | None = None,
) -> Assembled:
    """Build head and tuned parts of a task on a backbone. Raises ConfigError when the settings exceed the budget.

    `sizes`: the plan of an existing pack; None plans anew. In the mode fine-tuning the backbone is unfrozen.
    """
    import torch

    mode = MODES[tuning.mode]
    positions = backbone.positions
    if positions is not None and settings.max_tokens > positions:
        raise ConfigError(
            f"settings.max_tokens is {settings.max_tokens:,}, but {backbone.spec.name} was pretrained on rows of at "
            f"most {positions:,} tokens; lower it"
        )
    settings, head = _with_head(task, settings, tuning, backbone, seed)
    sizes = sizes or _plan(tuning, backbone, settings, head)
    encode_text = backbone.tokenizer.encode
    tuned = build_tuning(
        tuning, sizes, backbone.spec, backbone.embedding, encode_text(settings.instruction),
        [encode_text(option) for option in settings.options], seed,
    )  # fmt: skip
    if mode.backbone:
        backbone.unfreeze()
    # Trainable tensors are float32 over a bf16 backbone, and float64 only where everything is (tests of exactness).
    device, dtype = backbone.embedding.device, torch.promote_types(backbone.dtype, torch.float32)
    return Assembled(TunedTask(task, settings, tuned.to(device, dtype), head.to(device, dtype)), sizes)


def plan_for(task: Task, settings: TaskConfig, tuning: TuningConfig, backbone: Backbone) -> TuningPlan:
    """The sizes that `assemble` would choose, without building anything. Raises ConfigError as it does."""
    settings, head = _with_head(task, settings, tuning, backbone, seed=0)
    return _plan(tuning, backbone, settings, head)


def _with_head(
    task: Task, settings: TaskConfig, tuning: TuningConfig, backbone: Backbone, seed: int
) -> tuple[TaskConfig, nn.Module]:
    """The settings as the mode has them, and the task's head for them."""
    import torch

    settings = settings.model_copy(update={"soft_options": MODES[tuning.mode].options})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # a plugin's own layers start from the global generator
        return settings, task.build_head(settings, backbone.spec)


def _plan(tuning: TuningConfig, backbone: Backbone, settings: TaskConfig, head: nn.Module) -> TuningPlan:
    parameters = sum(p.numel() for p in head.parameters() if p.requires_grad)
    return plan(tuning, backbone.spec, backbone.heads, len(settings.options), parameters)


def load_pack(
    path: Path, backbone: Backbone, load_task: Callable[[str], Task], settings: Mapping[str, Any] | None = None
) -> tuple[Assembled, PackManifest]:
    """Load a task pack onto the backbone it was tuned on. Raises PackError when it belongs to another one.

    `settings` replace those of the pack, as far as they do not shape the tuned parts (how texts are written, say);
    ConfigError when they are wrong.
    """
    manifest = read_manifest(path)
    check_pack(path, manifest, backbone.spec, HOOK_API)
    changed = dict(settings or {})
    task = load_task(manifest.task)
    try:
        found = task.manifest.config.model_validate({**manifest.settings, **changed})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if str(first["loc"][0] if first["loc"] else "") in changed:
            raise ConfigError(f"setting settings.{field} is {first['input']!r}: {first['msg']}") from error
        raise PackError(
            f"{path}: setting {field}: {first['msg']}: the pack was made with {manifest.plugin.distribution} "
            f"{manifest.plugin.version}, the installed one is {task.version}"
        ) from error
    assembled = assemble(task, found, manifest.tuning, backbone, 0, manifest.plan)
    state = load_state(path, assembled.tuned.tuning, assembled.tuned.head)
    if state:
        backbone.load_state_dict(state)
    return assembled, manifest


def encode(name: str, tuned: TunedTask, samples: Sequence[Sample], backbone: Backbone) -> EncodedSamples:
    """Serialise samples of the task instance `name` and encode them; `index` is the place in `samples`.

    Raises DataError for a sample whose text cannot be brought within the length budget.
    """
    encoder = RowEncoder(
        backbone.tokenizer, tuned.tuning.prompt_count, tuned.config.max_tokens, tuned.tuning.segment_order,
        tuned.tuning.summary_count,
    )  # fmt: skip
    encoded: list[Encoded] = []
    truncated = dropped = 0
    known: dict[TextRow, TokenRow] = {}

    def tokens(row: TextRow, sample: Sample) -> TokenRow:
        # Rows of many samples may be the same text, as items are in histories: they become one object.
        found = known.get(row)
        if found is None:
            found = known[row] = encoder(row, f"sample {sample.id}")
        return found

    for index, sample in enumerate(samples):
        serialized = tuned.task.serialize_sample(sample, tuned.config)
        rows = tuple(tokens(row, sample) for row in serialized.rows)
        truncated += sum(row.dropped > 0 for row in rows)
        dropped += sum(row.dropped for row in rows)
        encoded.append(Encoded(name, index, sample, rows))
    return EncodedSamples(tuple(encoded), truncated, dropped)
