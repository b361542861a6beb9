"""The processes that share a command's work, as the commands of plugins see them.

A command starts the group by `m6rec_core.cli.launch.relaunch_if_needed`; each process then joins it here, before it
loads anything on a device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from m6rec_core.errors import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator

GROUP_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


@dataclass(frozen=True, slots=True, eq=False)
class Processes:
    """`size` processes of which this is number `rank`; one process needs no accelerator."""

    rank: int = 0
    size: int = 1
    accelerator: Accelerator | None = None

    @property
    def main(self) -> bool:
        """Whether this is the process that writes results and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process do the block before the others do; all leave it together."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()
        self.wait()


def group_size(env: Mapping[str, str]) -> int:
    """Number of processes of the group that the environment describes; 1 outside of any."""
    for name in GROUP_SIZES:
        if env.get(name):
            try:
                return int(env[name])
            except ValueError as error:
                raise ConfigError(f"environment variable {name} must be a whole number, got {env[name]!r}") from error
    return 1


def joined() -> Processes:
    """The group that this process was started in; alone, nothing heavy is imported."""
    if group_size(os.environ) == 1:
        return Processes()
    from pathlib import Path

    from m6rec_core.config import TrainingConfig
    from m6rec_core.training.accelerator import make_accelerator

    accelerator = make_accelerator(TrainingConfig(), Path())
    return Processes(accelerator.process_index, accelerator.num_processes, accelerator)
