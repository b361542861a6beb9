"""The Accelerator as this project uses it: what accelerate would take from the environment is pinned down."""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, is_tensorboard_available

from m6rec_core.config import TrainingConfig
from m6rec_core.errors import ConfigError

TRACKER_FOLDER = "trackers"


def make_accelerator(config: TrainingConfig, output: Path, cpu: bool = False) -> Accelerator:
    """Build the Accelerator of a run.

    - Precision "no": the backbone's loader decides the precision; accelerate's autocast or gradient scaler, which an
      `accelerate config` file may ask for, would come on top of it.
    - Accumulation 1: `Accelerator.backward` divides the loss by this number, but the objective is already divided by
      the samples of the whole step. The environment variable of accelerate overrides the argument, so it is set after.

    Args:
        config: `trackers` names what to log to, written under `output`/trackers.
        output: folder of the run.
        cpu: stay on the CPU even where there is an accelerator.

    Raises:
        ConfigError: when a tracker that was asked for is not installed.
    """
    if "tensorboard" in config.trackers and not is_tensorboard_available():
        raise ConfigError("training.trackers asks for tensorboard, which is not installed: pip install tensorboard")
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision="no",
        log_with=list(config.trackers) or None,
        project_config=ProjectConfiguration(project_dir=str(output), logging_dir=str(output / TRACKER_FOLDER)),
    )
    accelerator.gradient_accumulation_steps = 1
    return accelerator
