"""All tuned parameters of one task beside its head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from m6rec_core.config import SegmentOrder, TuningConfig
from m6rec_core.errors import ConfigError
from m6rec_core.tuning.adapters import FfnAdapters
from m6rec_core.tuning.budget import TuningPlan, used_layers
from m6rec_core.tuning.late import SegmentEmbeddings, SegmentSummaries, segment_slots
from m6rec_core.tuning.soft import (
    MarkerEmbeddings,
    SoftPrompts,
    informed_options,
    informed_prompts,
    initial_markers,
    random_rows,
)
from m6rec_core.types import BackboneSpec


class TaskTuning(nn.Module):
    """Soft prompts [P, D], soft options (the last C of them), markers [5, D], adapters and, with late interaction,
    segment embeddings [S, D] and summaries of one task.

    All parameters are float32, whatever the backbone computes in. Parts the mode does not have are absent: P is 0,
    `options()` is None, `ffn` and `attention` return None.
    """

    def __init__(
        self,
        soft: SoftPrompts | None,
        markers: MarkerEmbeddings,
        adapters: FfnAdapters | None,
        config: TuningConfig | None = None,
        attention_adapters: FfnAdapters | None = None,
    ) -> None:
        """Hold the parts; see `build_tuning`. `config` says how late interaction goes; None is the full model."""
        super().__init__()
        config = config or TuningConfig()
        self.late_layers = config.late_layers
        self.student_layers = config.student_layers
        self.late_prompts = config.late_prompts == "late" and config.late_layers > 0
        self.segment_order: SegmentOrder = config.segment_embeddings if config.late_layers else "none"
        slots, width = segment_slots(config), markers.embeddings.shape[1]
        self.segments = SegmentEmbeddings(slots, width) if slots else None
        self.summary_count = config.segment_summaries if config.late_layers else 0
        self.summaries = SegmentSummaries(self.summary_count, width) if self.summary_count else None
        self.soft = soft
        self.marker_embeddings = markers
        self.adapters = adapters
        self.attention_adapters = attention_adapters

    def depth(self, layers: int) -> int:
        """Return how many of the backbone's `layers` are used."""
        return self.student_layers or layers

    def below(self, layers: int) -> int:
        """Return L', how many of the backbone's `layers` see segments alone; 0 without late interaction."""
        return self.depth(layers) - self.late_layers if self.late_layers else 0

    @property
    def prompt_count(self) -> int:
        """P, the number of soft prompts, options included."""
        return 0 if self.soft is None else self.soft.prompts.shape[0]

    def prompts(self) -> Tensor:
        """Return the soft prompts [P, D]; P is 0 in modes without them."""
        if self.soft is None:
            return self.markers()[:0]
        return self.soft.prompts

    def options(self) -> Tensor | None:
        """Return the soft options [C, D], the same storage as the last C prompts; None in modes without them."""
        return None if self.soft is None else self.soft.options()

    def markers(self) -> Tensor:
        """Return the embeddings [5, D] of [BOS'] [EOS'] [BOS] [EOS] [MASK]."""
        return self.marker_embeddings.embeddings

    def ffn(self, layer: int, z: Tensor) -> Tensor | None:
        """Return what to add to the output of the FFN of `layer` for its input `z` [.., D]; None for nothing."""
        added: Tensor | None = None if self.adapters is None else self.adapters(layer, z)
        return added

    def attention(self, layer: int, z: Tensor) -> Tensor | None:
        """Return what to add to the input `z` [G, T, D] of the attention of `layer`; None for nothing.

        Queries, keys and values all see the sum: a low-rank change of their weights, zero at the start.
        """
        adapters = self.attention_adapters
        added: Tensor | None = None if adapters is None else adapters(layer, z)
        return added

    def adapter_state(self, stop: int) -> list[Tensor]:
        """Return the parameters of the adapters below layer `stop`, in order: what cached states depend on."""
        found: list[Tensor] = []
        for adapters in (self.adapters, self.attention_adapters):
            layers: dict[str, nn.Module] = {} if adapters is None else dict(adapters.layers.items())
            found += [p for n in sorted(map(int, layers)) if n < stop for p in layers[str(n)].parameters()]
        return found

    def trainable_parameters(self) -> int:
        """Return how many numbers train."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def embedding_parameters(self) -> list[nn.Parameter]:
        """Return the trainable embeddings (prompts, markers, those of segments), which may want their own learning
        rate.
        """
        found = list(self.marker_embeddings.parameters())
        found += [p for part in (self.segments, self.summaries) if part is not None for p in part.parameters()]
        return found if self.soft is None else [self.soft.prompts, *found]


def build_tuning(
    config: TuningConfig,
    plan: TuningPlan,
    spec: BackboneSpec,
    embedding: Tensor,
    instruction_ids: Sequence[int],
    option_ids: Sequence[Sequence[int]],
    seed: int,
) -> TaskTuning:
    """Build the tuned parts of a plan, on the device of the backbone's embedding table `embedding` [V, D].

    `instruction_ids` and `option_ids` (one list of token ids per answer) start the soft prompts and options; modes
    without them ignore both. The same arguments give the same values on every machine. Raises ConfigError when an
    informed start lacks its text.
    """
    generator = torch.Generator().manual_seed(seed)
    depth = used_layers(config, spec)
    # Drawn first: adapters start the same whether or not the mode has prompts, so that modes compare on equal terms.
    adapters = {
        place: FfnAdapters(spec.hidden, plan.rank, plan.first_adapter_layer, depth, generator)
        for place in ("ffn", "attention")
        if place in config.adapter_places and plan.first_adapter_layer < depth
    }
    soft = None
    if plan.prompts:
        if config.init == "random":
            initial = random_rows(embedding, plan.prompts, generator)
        else:
            initial = _informed_start(plan, embedding, instruction_ids, option_ids)
        soft = SoftPrompts(initial, plan.options)
    markers = MarkerEmbeddings(initial_markers(embedding), config.train_markers)
    tuning = TaskTuning(soft, markers, adapters.get("ffn"), config, adapters.get("attention"))
    return tuning.to(embedding.device)


def _informed_start(
    plan: TuningPlan, embedding: Tensor, instruction_ids: Sequence[int], option_ids: Sequence[Sequence[int]]
) -> Tensor:
    """Return the start [P, D] of the prompts: the instruction's embeddings, then the options'."""
    instruction = informed_prompts(embedding, instruction_ids, plan.prompts - plan.options)
    if not plan.options:
        return instruction
    if len(option_ids) != plan.options:
        raise ConfigError(
            f"the tuning plan has {plan.options} soft options, but settings.options has {len(option_ids)} answers: "
            "they must be as many"
        )
    return torch.cat([instruction, informed_options(embedding, option_ids)])
