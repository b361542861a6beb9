import math

import pytest
import torch
from torch import nn

from m6rec_core.tuning.adapters import FfnAdapter, FfnAdapters, adapter_parameters


def trained(hidden: int = 12, rank: int = 3) -> FfnAdapter:
    adapter = FfnAdapter(hidden, rank, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    return adapter


@torch.no_grad()
def reference(adapter: FfnAdapter, z: torch.Tensor) -> torch.Tensor:
    """The paper's formula, one number at a time."""
    out = torch.zeros_like(z)
    for row in range(z.shape[0]):
        inner = []
        for j in range(adapter.b1.shape[0]):
            x = float(adapter.b1[j]) + sum(float(z[row, i]) * float(adapter.w1[i, j]) for i in range(z.shape[1]))
            inner.append(0.5 * x * (1 + math.erf(x / math.sqrt(2))))
        for i in range(z.shape[1]):
            total = float(adapter.b2[i]) + sum(inner[j] * float(adapter.w2[j, i]) for j in range(len(inner)))
            out[row, i] = float(adapter.scale) * total
    return out


def test_formula_of_the_paper():
    adapter = trained().double()
    z = torch.randn(5, 12, dtype=torch.float64)
    torch.testing.assert_close(adapter(z), reference(adapter, z), rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_the_formula():
    adapter = trained(4, 2).double()
    z = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in adapter.named_parameters()]

    def call(z: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(adapter, dict(zip(names, values, strict=True)), (z,))
        return result

    assert torch.autograd.gradcheck(call, (z, *adapter.parameters()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_new_adapter_leaves_the_ffn_output_byte_identical(dtype):
    torch.manual_seed(3)
    ffn = nn.Sequential(nn.Linear(12, 48), nn.SiLU(), nn.Linear(48, 12)).to(dtype)
    z = torch.randn(50, 12, dtype=dtype)
    adapter = FfnAdapter(12, 3, torch.Generator().manual_seed(0))
    plain = ffn(z)
    adapted = plain + adapter(z)
    assert adapted.dtype == dtype
    assert adapted.detach().view(torch.uint8).equal(plain.detach().view(torch.uint8))


def test_bf16_input_is_answered_in_bf16_and_trains_float32_parameters():
    adapter = trained()
    z = torch.randn(64, 12)
    exact = adapter(z)
    half = adapter(z.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.05, atol=0.02)
    half.float().square().sum().backward()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.abs().sum() > 0, name


def test_only_w2_and_b2_move_first():
    adapter = FfnAdapter(12, 3, torch.Generator().manual_seed(0))
    adapter(torch.randn(8, 12)).sum().backward()
    moved = {name for name, p in adapter.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {"w2", "b2"}


def test_collection_covers_its_layers_only():
    adapters = FfnAdapters(12, 3, first=2, stop=5, generator=torch.Generator().manual_seed(0))
    z = torch.randn(2, 3, 12)
    assert [adapters(layer, z) is not None for layer in range(6)] == [False, False, True, True, True, False]
    assert sum(p.numel() for p in adapters.parameters()) == 3 * adapter_parameters(12, 3)
    assert adapters(3, z).shape == z.shape


def test_parameters_of_the_default_backbone():
    assert adapter_parameters(576, 64) == 74_369
