"""The launcher: its decision as a table, and a real group of two gloo processes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from m6rec_core.cli.launch import (
    ASKED,
    AccelerateFile,
    LaunchPlan,
    check_group,
    launch,
    plan_launch,
    read_accelerate_file,
    relaunch_if_needed,
)
from m6rec_core.errors import ConfigError, RunError
from m6rec_core.serving.processes import group_size

HERE = LaunchPlan("here")


def file(processes: int = 2, machines: int = 1, cpu: bool = False) -> AccelerateFile:
    return AccelerateFile(Path("default_config.yaml"), processes, machines, cpu)


@pytest.mark.parametrize("n", [None, 1])
@pytest.mark.parametrize("cuda", [0, 4])
def test_one_process_runs_here(n: int | None, cuda: int) -> None:
    assert plan_launch({}, cuda, None, n) == HERE


def test_cpu_starts_a_group_with_its_share_of_the_cores() -> None:
    plan = plan_launch({}, 0, None, 2, cores=8)
    assert (plan.kind, plan.processes) == ("group", 2)
    assert dict(plan.environment) == {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "4", ASKED: "2"}


def test_more_processes_than_cores_still_get_a_thread_and_the_users_choice_wins() -> None:
    assert dict(plan_launch({}, 0, None, 4, cores=2).environment)["OMP_NUM_THREADS"] == "1"
    assert dict(plan_launch({"OMP_NUM_THREADS": "3"}, 0, None, 2, cores=2).environment)["OMP_NUM_THREADS"] == "3"


def test_cuda_uses_accelerate_launch() -> None:
    plan = plan_launch({}, 2, None, 2)
    assert plan.kind == "accelerate"
    assert plan.prefix[1:3] == ("-m", "accelerate.commands.launch")
    assert plan.prefix[4:6] == ("--num_processes", "2")
    assert dict(plan.environment) == {ASKED: "2"}


def test_more_processes_than_cuda_devices_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs 4 CUDA devices, this machine has 2"):
        plan_launch({}, 2, None, 4)


def test_config_file_is_used_only_without_num_processes() -> None:
    plan = plan_launch({}, 2, file(2), None)
    assert plan.kind == "accelerate"
    assert plan.prefix[-2:] == ("--config_file", "default_config.yaml")
    assert plan_launch({}, 2, file(2), 1) == HERE


def test_config_file_for_a_cpu_starts_the_group_that_accelerate_would_not() -> None:
    assert plan_launch({}, 0, file(2), None).kind == "group"
    assert plan_launch({}, 4, file(2, cpu=True), None).kind == "group"
    assert plan_launch({}, 0, file(1), None) == HERE


def test_config_file_for_several_machines_is_left_to_accelerate() -> None:
    assert plan_launch({}, 0, file(4, machines=2, cpu=True), None).kind == "accelerate"


@pytest.mark.parametrize("n", [None, 2])
def test_inside_a_launch_nothing_is_started_again(n: int | None) -> None:
    env = {"RANK": "0", "WORLD_SIZE": "2"}
    assert plan_launch(env, 4, file(8), n) == LaunchPlan("here", 2)


def test_inside_accelerate_launch_of_one_process_nothing_is_started_again() -> None:
    assert plan_launch({"ACCELERATE_DYNAMO_BACKEND": "NO"}, 0, file(8), None) == HERE


def test_a_group_of_another_size_fails() -> None:
    with pytest.raises(RunError, match="3 processes were asked for but the launcher started 2"):
        plan_launch({"RANK": "0", "WORLD_SIZE": "2"}, 0, None, 3)
    with pytest.raises(RunError, match="2 processes were asked for but the launcher started 1"):
        plan_launch({"ACCELERATE_DYNAMO_BACKEND": "NO", ASKED: "2"}, 0, None, None)


def test_accelerates_silent_single_process_fails() -> None:
    env = {"ACCELERATE_DYNAMO_BACKEND": "NO", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    with pytest.raises(RunError, match="started one"):
        plan_launch(env, 0, None, None)


@pytest.mark.parametrize("n", [0, -1])
def test_impossible_counts_are_refused(n: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        plan_launch({}, 0, None, n)


def test_group_size_reads_torchrun_and_mpi() -> None:
    assert group_size({}) == 1
    assert group_size({"WORLD_SIZE": "3"}) == 3
    assert group_size({"OMPI_COMM_WORLD_SIZE": "2"}) == 2
    with pytest.raises(ConfigError, match="WORLD_SIZE"):
        group_size({"WORLD_SIZE": "two"})


def test_check_group_accepts_what_was_asked() -> None:
    assert check_group(2, 2) is None
    assert check_group(2, None) is None


def test_accelerate_file_is_found_where_accelerate_looks(tmp_path: Path) -> None:
    env = {"HF_HOME": str(tmp_path)}
    assert read_accelerate_file(env) is None
    path = tmp_path / "accelerate/default_config.yaml"
    path.parent.mkdir()
    path.write_text("num_processes: 3\nnum_machines: 1\nuse_cpu: true\n")
    assert read_accelerate_file(env) == AccelerateFile(path, 3, 1, True)
    path.write_text("- no mapping\n")
    with pytest.raises(ConfigError, match="run `accelerate config`"):
        read_accelerate_file(env)


def test_without_a_wish_the_run_stays_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert relaunch_if_needed(["run"], None) is None
    assert relaunch_if_needed(["run"], 1) is None


def script(folder: Path, body: str) -> Path:
    path = folder / "rank.py"
    path.write_text(textwrap.dedent(body))
    return path


def test_two_gloo_processes_gather(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import sys
        from pathlib import Path

        import torch
        from accelerate import Accelerator

        from m6rec_core.cli.launch import relaunch_if_needed

        assert relaunch_if_needed([], None) is None
        accelerator = Accelerator()
        gathered = accelerator.gather(torch.tensor([accelerator.process_index + 1]))
        backend = torch.distributed.get_backend()
        out = Path(sys.argv[1]) / f"rank{accelerator.process_index}"
        out.write_text(f"{accelerator.num_processes} {gathered.tolist()} {backend}")
        accelerator.end_training()
        """,
    )
    code = launch(plan_launch({}, 0, None, 2, cores=2), (str(path), str(tmp_path)))
    assert code == 0
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["2 [1, 2] gloo"] * 2


def test_a_failing_rank_ends_the_group_with_one_line_and_its_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = script(
        tmp_path,
        """
        import os, sys, time
        from m6rec_core.cli.failures import tell
        from m6rec_core.errors import DataError

        if os.environ["RANK"] == "0":
            time.sleep(60)  # as if waiting in a collective
        sys.exit(tell(DataError("events.csv row 3: no item")))
        """,
    )
    begin = time.monotonic()
    code = launch(plan_launch({}, 0, None, 3, cores=1), (str(path),))
    assert code == 2
    assert capfd.readouterr().err == "error: events.csv row 3: no item\n"
    assert time.monotonic() - begin < 50, "the waiting rank was not terminated"


def test_the_cause_is_told_and_not_what_follows_from_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = script(
        tmp_path,
        """
        import os, sys, time
        from pathlib import Path
        from m6rec_core.cli.failures import ERROR_FOLDER, tell
        from m6rec_core.errors import DataError

        os.environ["M6REC_HOME"] = sys.argv[1]
        if os.environ["RANK"] == "0":
            while not list(Path(os.environ[ERROR_FOLDER]).glob("2-*.txt")):
                time.sleep(0.01)  # a rank loses its partner after the partner has failed
            sys.exit(tell(RuntimeError("connection closed by peer")))
        tell(DataError("events.csv row 3: no item"))
        time.sleep(60)
        """,
    )
    assert launch(plan_launch({}, 0, None, 2, cores=1), (str(path), str(tmp_path))) == 2
    assert capfd.readouterr().err == "error: events.csv row 3: no item\n"


def test_a_killed_rank_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = script(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert launch(plan_launch({}, 0, None, 2, cores=1), (str(path),)) == 128 + signal.SIGKILL
    assert "was killed; is there enough memory" in capfd.readouterr().err


def test_no_rank_outlives_a_terminated_or_killed_launcher(tmp_path: Path) -> None:
    ranks = script(
        tmp_path,
        """
        import os, sys, time
        from pathlib import Path
        from m6rec_core.cli.launch import relaunch_if_needed

        relaunch_if_needed([], None)
        (Path(sys.argv[1]) / os.environ["RANK"]).write_text(str(os.getpid()))
        time.sleep(120)
        """,
    )
    starter = (
        "import sys; from m6rec_core.cli.launch import launch, plan_launch; "
        "sys.exit(launch(plan_launch({}, 0, None, 2), sys.argv[1:]))"
    )
    for number in (signal.SIGTERM, signal.SIGKILL):
        folder = tmp_path / number.name
        folder.mkdir()
        process = subprocess.Popen([sys.executable, "-c", starter, str(ranks), str(folder)])
        files = [folder / "0", folder / "1"]
        wait_for(lambda files=files: all(file.exists() and file.read_text() for file in files))
        process.send_signal(number)
        assert process.wait(30) in (128 + signal.SIGTERM, -signal.SIGKILL)
        wait_for(lambda files=files: not any(alive(int(file.read_text())) for file in files))
        assert not any(alive(int(file.read_text())) for file in files)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
