"""How many parameters a task may tune, and what they are spent on (paper 3.4: about 1 % of the backbone)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from m6rec_core.config import TuningConfig
from m6rec_core.errors import ConfigError
from m6rec_core.tuning.adapters import adapter_parameters
from m6rec_core.tuning.late import late_vectors
from m6rec_core.tuning.modes import MODES, ModeSpec
from m6rec_core.tuning.soft import MARKER_COUNT
from m6rec_core.types import BackboneSpec, FrozenModel

SPARE_PROMPTS = 8
"""When the budget chooses the adapters, it leaves room for this many soft prompts beside the options."""


class TuningPlan(FrozenModel):
    """The sizes of one task's tuned parts; stored in the task pack.

    `prompts` is P, of which the last `options` are soft options. Layers [first_adapter_layer, L) have adapters of
    `rank` (L: the depth of a student). `parameters` counts everything that trains (head included); `share` is that over
    the backbone's size.
    """

    prompts: int
    options: int
    rank: int
    first_adapter_layer: int
    parameters: int
    share: float


@dataclass(frozen=True, slots=True)
class _Costs:
    """Numbers of parameters: what may be spent, what is spent in any case, and the price of one more prompt
    or adapted layer (of `rank`)."""

    limit: int
    fixed: int
    prompt: int
    adapter: int
    rank: int

    def total(self, prompts: int, adapters: int) -> int:
        return self.fixed + prompts * self.prompt + adapters * self.adapter


def plan(config: TuningConfig, spec: BackboneSpec, heads: int, options: int, head_parameters: int) -> TuningPlan:
    """Choose the sizes for a backbone with `heads` attention heads, a task with C = `options` and a head of that size.

    At most `config.budget * spec.parameters` parameters train. `adapter_layers` None takes the most that fit beside the
    options and a few prompts; then `prompts` None takes what still fits, at most `max_prompts`. Settings of parts that
    the mode does not have are without effect, so that one configuration can compare modes; fine-tuning has no budget.
    Raises ConfigError when explicit settings, or the least a mode needs, do not fit.
    """
    mode = MODES[config.mode]
    _check_late(config, spec)
    rank = (config.adapter_rank or max(1, spec.hidden // heads)) if mode.adapters else 0
    soft_options = options if mode.options else 0
    costs = _Costs(
        limit=math.floor(config.budget * spec.parameters + 1e-6),
        fixed=head_parameters + spec.hidden * (late_vectors(config) + (MARKER_COUNT if config.train_markers else 0)),
        prompt=spec.hidden,
        adapter=adapter_parameters(spec.hidden, rank) * len(set(config.adapter_places)),
        rank=rank,
    )
    least = _least_prompts(config, mode, soft_options)
    adapters = _adapter_count(config, spec, mode, costs, least) if mode.adapters else 0
    prompts = _prompt_count(config, costs, adapters, least) if mode.prompts else 0
    parameters = costs.total(prompts, adapters)
    if mode.backbone:
        parameters += spec.parameters
    elif parameters > costs.limit:
        raise ConfigError(_over_budget(config, spec, costs, prompts, adapters))
    return TuningPlan(
        prompts=prompts,
        options=soft_options,
        rank=rank,
        first_adapter_layer=used_layers(config, spec) - adapters,
        parameters=parameters,
        share=parameters / spec.parameters,
    )


def _least_prompts(config: TuningConfig, mode: ModeSpec, options: int) -> int:
    """Return the fewest prompts the mode and the settings allow; refuse settings below the number of options."""
    if not mode.prompts:
        return 0
    if config.prompts is not None:
        if config.prompts < options:
            raise ConfigError(
                f"tuning.prompts is {config.prompts}, but the last {options} soft prompts are the task's options: "
                f"set tuning.prompts to at least {options}, or tuning.mode to one without options (prompt, adapter)"
            )
        return config.prompts
    if config.max_prompts < options:
        raise ConfigError(
            f"tuning.max_prompts is {config.max_prompts}, but the last {options} soft prompts are the task's options: "
            f"set tuning.max_prompts to at least {options}"
        )
    return max(1, options)


def _adapter_count(config: TuningConfig, spec: BackboneSpec, mode: ModeSpec, costs: _Costs, least: int) -> int:
    """Return the number of adapted layers: the explicit one, or the most that fit."""
    depth = used_layers(config, spec)
    if config.adapter_layers == "all":
        return depth
    if config.adapter_layers == "late":
        return config.late_layers
    if config.adapter_layers is not None:
        if config.adapter_layers > depth:
            raise ConfigError(
                f"tuning.adapter_layers is {config.adapter_layers}, but {spec.name} has {depth} layers: "
                f"set it to at most {depth}"
            )
        return config.adapter_layers
    reserved = least
    if mode.prompts and config.prompts is None:
        reserved = min(config.max_prompts, least + SPARE_PROMPTS)
    fitting = (costs.limit - costs.total(reserved, 0)) // costs.adapter
    if fitting < 1:
        needed = costs.total(reserved, 1)
        raise ConfigError(
            f"tuning.mode {config.mode} needs at least {needed:,} parameters for one adapter, {reserved} soft prompts "
            f"and the head, but tuning.budget {config.budget:g} of {spec.name} allows {costs.limit:,}: set "
            f"tuning.budget to at least {_budget_for(needed, spec)}, or lower tuning.adapter_rank"
        )
    return int(min(config.late_layers or depth, fitting))


def used_layers(config: TuningConfig, spec: BackboneSpec) -> int:
    """Return how many layers of the backbone the task uses, from below."""
    return config.student_layers or spec.layers


def _check_late(config: TuningConfig, spec: BackboneSpec) -> None:
    """Refuse more late or student layers than there are, and late adapters without late interaction."""
    for name, asked in (("late_layers", config.late_layers), ("student_layers", config.student_layers)):
        if asked > spec.layers:
            raise ConfigError(
                f"tuning.{name} is {asked}, but {spec.name} has {spec.layers} layers: set it to at most {spec.layers}"
            )
    if config.adapter_layers == "late" and not config.late_layers:
        raise ConfigError(
            "tuning.adapter_layers is late, but tuning.late_layers is 0: set tuning.late_layers (--late-layers), or "
            "tuning.adapter_layers to a number or all"
        )


def _prompt_count(config: TuningConfig, costs: _Costs, adapters: int, least: int) -> int:
    """Return the number of prompts: the explicit one, or as many as still fit, never below what the mode needs."""
    if config.prompts is not None:
        return config.prompts
    fitting = (costs.limit - costs.total(0, adapters)) // costs.prompt
    return int(max(least, min(config.max_prompts, fitting)))


def _budget_for(parameters: int, spec: BackboneSpec) -> str:
    """Return the smallest budget, rounded up to three digits, that allows this many parameters."""
    share = parameters / spec.parameters
    digits = 2 - math.floor(math.log10(share))
    return f"{math.ceil(share * 10**digits) / 10**digits:.{max(digits, 0)}f}"


def _over_budget(config: TuningConfig, spec: BackboneSpec, costs: _Costs, prompts: int, adapters: int) -> str:
    """Say what each part costs, what is allowed and how to get there."""
    parts = []
    cures = []
    if adapters:
        parts.append(f"{adapters} adapters of rank {costs.rank}: {adapters * costs.adapter:,}")
        fitting = (costs.limit - costs.total(prompts, 0)) // costs.adapter
        cures.append(f"set tuning.adapter_layers to at most {fitting}" if fitting >= 0 else "set fewer adapters")
    if prompts:
        parts.append(f"{prompts} soft prompts: {prompts * costs.prompt:,}")
        fitting = (costs.limit - costs.total(0, adapters)) // costs.prompt
        if fitting >= 0:
            cures.append(f"tuning.prompts to at most {fitting}")
    parts.append(f"head and markers: {costs.fixed:,}")
    total = costs.total(prompts, adapters)
    cures.append(f"tuning.budget to at least {_budget_for(total, spec)}")
    return (
        f"tuning.mode {config.mode} would tune {total:,} parameters ({'; '.join(parts)}), but tuning.budget "
        f"{config.budget:g} of the {spec.parameters:,} of {spec.name} allows {costs.limit:,}: {', or '.join(cures)}"
    )
