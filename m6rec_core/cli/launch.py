"""How a command becomes a group of processes: decided by device, accelerate's config file and `--num-processes`.

`accelerate launch --cpu --num_processes 2` starts one process and says nothing, so on a CPU this module starts the
group itself, with the environment that `torchrun --standalone` gives (RANK, WORLD_SIZE, MASTER_ADDR ...) and gloo.
Doing so keeps the exit code and prints one failure once, where torchrun adds its own traceback and returns 1.
On CUDA devices it is `accelerate launch`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

import click

from m6rec_core.cli.failures import CURABLE, ERROR_FOLDER
from m6rec_core.errors import ConfigError, RunError
from m6rec_core.serving.processes import GROUP_SIZES, group_size

ASKED = "M6REC_ASKED_PROCESSES"
"""Set for launched processes: the group size they must find themselves in."""

KILLED = 128 + signal.SIGKILL
LAUNCHED = (*GROUP_SIZES, "RANK", "ACCELERATE_DYNAMO_BACKEND")
"""A process that has one of these was started by torchrun, MPI or `accelerate launch` (which always sets the last)."""


@dataclass(frozen=True, slots=True)
class AccelerateFile:
    """What matters of the user's accelerate config file. `processes` counts all machines together."""

    path: Path
    processes: int = 1
    machines: int = 1
    cpu: bool = False


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """`here`: run in this process. `group`: start `processes` copies on the CPU. `accelerate`: put `prefix` in front.

    `processes` is the size the group must have. `environment` is added to that of the started processes.
    """

    kind: Literal["here", "group", "accelerate"]
    processes: int = 1
    prefix: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def plan_launch(
    env: Mapping[str, str], cuda: int, config_file: AccelerateFile | None, n: int | None, cores: int = 1
) -> LaunchPlan:
    """Decide how to start. `cuda`: number of CUDA devices; `n`: `--num-processes` or None; `cores`: usable CPU cores.

    An explicit `n` wins over the config file. Raises ConfigError for an impossible `n`, RunError when this process is
    already part of a group whose size is not the one asked for.
    """
    if n is not None and n < 1:
        raise ConfigError(f"--num-processes must be at least 1, got {n}")
    if any(name in env for name in LAUNCHED):
        _check_not_alone(env)
        check_group(group_size(env), n if n is not None else int(env.get(ASKED, "0")) or None)
        return LaunchPlan("here", group_size(env))
    if n is None:
        return LaunchPlan("here") if config_file is None else _from_file(env, cuda, config_file, cores)
    if n == 1:
        return LaunchPlan("here")
    if cuda == 0:
        return _group(env, n, cores)
    if n > cuda:
        raise ConfigError(f"--num-processes {n} needs {n} CUDA devices, this machine has {cuda}")
    flags = ("--multi_gpu", "--num_processes", str(n), "--num_machines", "1", "--mixed_precision", "no")
    return LaunchPlan("accelerate", n, (*_accelerate(), *flags, "--dynamo_backend", "no"), ((ASKED, str(n)),))


def relaunch_if_needed(argv: Sequence[str], num_processes: int | None) -> int | None:
    """Start `m6rec *argv` as a group when `num_processes` or the user's accelerate config asks for one.

    `argv` are the arguments after `m6rec`. Returns None when the caller shall go on in this process, otherwise the exit
    code of the group, which has done all the work.
    """
    config_file = read_accelerate_file(os.environ) if num_processes is None else None
    launched = any(name in os.environ for name in LAUNCHED)
    wanted = not launched and (config_file is not None or (num_processes or 1) > 1)
    cuda = _cuda_devices() if wanted else 0  # importing torch takes a second: only where the answer matters
    plan = plan_launch(os.environ, cuda, config_file, num_processes, _cores())
    if launched and ASKED in os.environ:
        _die_with_parent()
    return None if plan.kind == "here" else launch(plan, ("-m", "m6rec_core", *argv))


def launch(plan: LaunchPlan, arguments: Sequence[str]) -> int:
    """Start the processes of `plan` on `python *arguments`, wait, and return their exit code.

    The code is 0 when all succeed, else that of the first process seen failing; the others are then terminated. Signals
    sent to this process reach the group.
    """
    with tempfile.TemporaryDirectory(prefix="m6rec-launch-") as folder:
        environment = {**os.environ, **dict(plan.environment), ERROR_FOLDER: folder}
        if plan.kind == "accelerate":
            started = [_start([*plan.prefix, *arguments], environment)]
        else:
            started = _start_group(plan.processes, arguments, environment)
        with _forwarding(started):
            try:
                code = _wait(started)
            except KeyboardInterrupt:
                _settle(started)
                raise
        told = _told(Path(folder))
    if code == 0:
        return 0
    if told is None:
        reason = "was killed; is there enough memory for so many processes?" if code == KILLED else f"ended with {code}"
        told = code, f"error: a process of the group {reason}"
    click.echo(told[1], err=True)
    return told[0]


def read_accelerate_file(env: Mapping[str, str]) -> AccelerateFile | None:
    """The user's accelerate config at its default place, or None. Raises ConfigError when it cannot be read."""
    cache = env.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(env.get("HF_HOME") or str(Path(cache) / "huggingface")).expanduser() / "accelerate/default_config.yaml"
    if not path.is_file():
        return None
    import yaml

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        processes = int(settings.get("num_processes") or 1)
        machines = int(settings.get("num_machines") or 1)
        return AccelerateFile(path, processes, machines, bool(settings.get("use_cpu")))
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: no readable accelerate config ({reason}); run `accelerate config`") from error


def check_group(size: int, asked: int | None) -> None:
    """Raise RunError when a group has another size than the one asked for: a silent single process is no group."""
    if asked is not None and size != asked:
        raise RunError(
            f"{asked} processes were asked for but the launcher started {size}: leave --num-processes to the launcher, "
            "or start with `m6rec run --num-processes` alone"
        )


def _check_not_alone(env: Mapping[str, str]) -> None:
    """`accelerate launch --cpu --num_processes 2` gives its one process the address of a group that never forms."""
    if "ACCELERATE_DYNAMO_BACKEND" in env and "MASTER_PORT" in env and not any(name in env for name in GROUP_SIZES):
        raise RunError(
            "accelerate launch was asked for several processes but started one, as it does on a CPU: "
            "use `m6rec run --num-processes N` or torchrun"
        )


def _from_file(env: Mapping[str, str], cuda: int, file: AccelerateFile, cores: int) -> LaunchPlan:
    if file.machines == 1 and (file.cpu or cuda == 0):
        return _group(env, file.processes, cores) if file.processes > 1 else LaunchPlan("here")
    prefix = (*_accelerate(), "--config_file", str(file.path))
    return LaunchPlan("accelerate", file.processes, prefix, ((ASKED, str(file.processes)),))


def _group(env: Mapping[str, str], n: int, cores: int) -> LaunchPlan:
    threads = env.get("OMP_NUM_THREADS") or str(max(1, cores // n))
    settings = (("ACCELERATE_USE_CPU", "true"), ("OMP_NUM_THREADS", threads), (ASKED, str(n)))
    return LaunchPlan("group", n, (), settings)


def _accelerate() -> tuple[str, ...]:
    return sys.executable, "-m", "accelerate.commands.launch"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _die_with_parent() -> None:
    """Ask Linux to kill this rank when its launcher is killed: an orphan would go on writing to the output folder."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _cuda_devices() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(list(command), env=dict(environment))  # noqa: S603 - our own interpreter and arguments


def _start_group(n: int, arguments: Sequence[str], environment: Mapping[str, str]) -> list[subprocess.Popen[bytes]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = []
    for rank in range(n):
        own = {name: str(value) for name, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
        started.append(_start([sys.executable, *arguments], {**environment, **own}))
    return started


def _wait(started: Sequence[subprocess.Popen[bytes]]) -> int:
    running = list(started)
    while running:
        for process in running:
            if (code := process.poll()) is None:
                continue
            running.remove(process)
            if code != 0:
                _stop(running)
                return 128 - code if code < 0 else code
            break
        else:
            time.sleep(0.05)
    return 0


def _settle(processes: Sequence[subprocess.Popen[bytes]], grace: float = 3.0) -> None:
    """Let processes that the terminal has interrupted as well put their progress bars away before they are stopped."""
    until = time.monotonic() + grace
    while time.monotonic() < until and any(process.poll() is None for process in processes):
        time.sleep(0.05)


def _stop(processes: Sequence[subprocess.Popen[bytes]], grace: float = 10.0) -> None:
    """Terminate, and after `grace` seconds kill: a rank that waits in a collective for a dead one never returns."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + grace
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _forwarding(started: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Pass SIGTERM on to the group, so that no process outlives this one.

    SIGINT needs no passing on: a terminal sends it to the whole foreground group.
    """

    def forward(number: int, frame: FrameType | None) -> None:
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    before = signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _stop([process for process in started if process.poll() is None])


def _told(folder: Path) -> tuple[int, str] | None:
    """(exit code, line) of the failure that the others follow from, or None when no process left a line.

    A failure the user can cure comes before an internal error, which may be a rank that lost its partner; then the
    earliest one.
    """
    found = [(path.stat().st_mtime_ns, int(path.name.split("-")[0]), path) for path in folder.glob("*.txt")]
    if not found:
        return None
    _, code, path = min(found, key=lambda entry: (entry[1] != CURABLE, entry[0]))
    return code, path.read_text(encoding="utf-8")
