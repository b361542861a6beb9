"""Which number format `auto` means, by a measurement that other tests replace by one."""

from __future__ import annotations

import pytest
import torch

from m6rec_core.backbone import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("half", "full", "expected"), [(1.0, 2.0, torch.bfloat16), (9.0, 1.0, torch.float32)])
def test_the_faster_format_is_taken(monkeypatch, half, full, expected):
    turns: list[torch.dtype] = []

    def product(dtype: torch.dtype):
        def seconds() -> float:
            turns.append(dtype)
            return half if dtype is torch.bfloat16 else full

        return seconds

    monkeypatch.setattr(precision, "_product", product)
    assert precision.resolve("auto", CPU) is expected
    clear = max(half, full) > precision.CLEAR * min(half, full)
    assert len(turns) == 2 * (1 + (1 if clear else precision.ROUNDS)), "a clear result ends the measurement"


def test_one_slow_turn_of_many_does_not_decide(monkeypatch):
    """Another program had the processor during one turn."""
    times = {torch.bfloat16: iter([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), torch.float32: iter([1.0, 2.0, 0.5, 2.0, 2.0, 2.0])}
    monkeypatch.setattr(precision, "_product", lambda dtype: lambda: next(times[dtype]))
    assert precision.resolve("auto", CPU) is torch.float32


def test_a_measurement_gives_one_of_the_two_formats():
    assert precision.resolve("auto", CPU) in (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("name", ["bf16", "fp32", "fp64"])
def test_what_was_asked_for_is_not_measured(monkeypatch, name):
    monkeypatch.setattr(precision, "_product", None)
    assert precision.name_of(precision.resolve(name, CPU)) == name
