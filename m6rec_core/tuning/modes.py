"""The five tuning modes of the paper (3.4, Table 8, Fig. 8) as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from m6rec_core.config import Mode


@dataclass(frozen=True, slots=True)
class ModeSpec:
    """Which parts a mode has. Everything a mode has trains; what it does not have does not exist.

    `options`: the last C prompts are the classifier. `linear_head`: the classifier is the head's own matrix instead.
    `backbone`: the backbone's own weights train too, so the task pack holds them and no budget applies.
    Every mode trains the task's head, and the markers where `TuningConfig.train_markers` says so.
    """

    prompts: bool
    options: bool
    adapters: bool
    backbone: bool
    linear_head: bool


MODES: Mapping[Mode, ModeSpec] = MappingProxyType(
    {
        "fine-tuning": ModeSpec(prompts=False, options=False, adapters=False, backbone=True, linear_head=True),
        "adapter": ModeSpec(prompts=False, options=False, adapters=True, backbone=False, linear_head=True),
        "prompt": ModeSpec(prompts=True, options=False, adapters=False, backbone=False, linear_head=True),
        "option": ModeSpec(prompts=True, options=True, adapters=False, backbone=False, linear_head=False),
        "option-adapter": ModeSpec(prompts=True, options=True, adapters=True, backbone=False, linear_head=False),
    }
)
"""Mode name -> what it has. "option" is "prompt" plus soft options; "option-adapter" adds adapters to it."""
