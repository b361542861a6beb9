import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.errors import ConfigError
from m6rec_core.tuning.soft import (
    MarkerEmbeddings,
    SoftPrompts,
    informed_options,
    informed_prompts,
    initial_markers,
    random_rows,
)


def table(rows: int = 40, width: int = 16) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1)) * 0.1


def test_options_are_the_storage_of_the_last_prompts():
    soft = SoftPrompts(table(6), options=2)
    options = soft.options()
    assert options is not None
    assert options.untyped_storage().data_ptr() == soft.prompts.untyped_storage().data_ptr()
    assert options.data_ptr() == soft.prompts[4].data_ptr()
    with torch.no_grad():
        options[1] = 7.0
    assert torch.equal(soft.prompts[5], torch.full((16,), 7.0))
    assert [name for name, _ in soft.named_parameters()] == ["prompts"]


def test_gradients_of_both_uses_add_up():
    soft = SoftPrompts(table(5), options=2).double()
    first, second = torch.randn(5, 16, dtype=torch.float64), torch.randn(2, 16, dtype=torch.float64)
    options = soft.options()
    assert options is not None
    ((soft.prompts * first).sum() + (options * second).sum()).backward()
    expected = first.clone()
    expected[3:] += second
    assert soft.prompts.grad is not None
    torch.testing.assert_close(soft.prompts.grad, expected)


def test_prompts_without_options():
    assert SoftPrompts(table(3)).options() is None


@pytest.mark.parametrize("options", [-1, 4])
def test_more_options_than_prompts_are_refused(options):
    with pytest.raises(ValueError, match="options need"):
        SoftPrompts(table(3), options)


@settings(deadline=None)
@given(st.lists(st.integers(0, 39), min_size=1, max_size=9), st.integers(0, 20))
def test_instruction_is_cut_or_repeated(ids, count):
    start = informed_prompts(table(), ids, count)
    assert start.shape == (count, 16)
    assert start.dtype == torch.float32
    for position in range(count):
        assert torch.equal(start[position], table()[ids[position % len(ids)]])


def test_an_empty_instruction_names_the_cure():
    with pytest.raises(ConfigError, match=r"settings\.instruction"):
        informed_prompts(table(), [], 3)
    assert informed_prompts(table(), [], 0).shape == (0, 16)


def test_options_start_as_the_mean_of_their_words():
    start = informed_options(table(), [[3], [5, 8]])
    assert torch.equal(start[0], table()[3])
    torch.testing.assert_close(start[1], (table()[5] + table()[8]) / 2)


def test_an_option_starts_as_the_tied_logit_of_its_word():
    hidden = torch.randn(4, 16)
    torch.testing.assert_close(hidden @ informed_options(table(), [[3]]).T, (hidden @ table().T)[:, [3]])


def test_an_option_without_words_is_refused():
    with pytest.raises(ConfigError, match="option 2"):
        informed_options(table(), [[3], []])


def test_random_rows_have_the_tables_spread_and_follow_the_generator():
    rows = random_rows(table(400, 64), 200, torch.Generator().manual_seed(5))
    again = random_rows(table(400, 64), 200, torch.Generator().manual_seed(5))
    assert torch.equal(rows, again)
    assert rows.std() == pytest.approx(0.1, rel=0.05)


def test_markers_depend_on_the_table_alone_and_differ():
    first = initial_markers(table())
    torch.manual_seed(123)
    assert torch.equal(first, initial_markers(table()))
    assert first.shape == (5, 16)
    centred = (first - table().mean(0)) / table().std(0, correction=0)
    cosines = torch.nn.functional.normalize(centred) @ torch.nn.functional.normalize(centred).T
    torch.testing.assert_close(cosines, torch.eye(5), atol=1e-5, rtol=0)


def test_markers_have_the_size_of_tokens():
    big = table(500, 64)
    assert initial_markers(big).norm(dim=1).mean() == pytest.approx(float(big.norm(dim=1).mean()), rel=0.1)


@pytest.mark.parametrize("trainable", [True, False])
def test_untrained_markers_are_stored_but_not_optimised(trainable):
    markers = MarkerEmbeddings(initial_markers(table()), trainable)
    assert len(list(markers.parameters())) == int(trainable)
    assert list(markers.state_dict()) == ["embeddings"]


def test_markers_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="markers"):
        MarkerEmbeddings(torch.zeros(4, 16), trainable=True)
