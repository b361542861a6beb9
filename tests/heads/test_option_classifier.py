import pytest
import torch

from m6rec_core.heads.options import OptionClassifier


def test_soft_options_classify_like_a_tied_output_layer():
    head = OptionClassifier(8, 3)
    hidden, options = torch.randn(5, 8), torch.randn(3, 8)
    logits = head(hidden, options)
    for n in range(5):
        for c in range(3):
            assert float(logits[n, c]) == pytest.approx(float((hidden[n] * options[c]).sum()), abs=1e-5)
    assert list(head.parameters()) == []


def test_options_receive_the_gradient():
    options = torch.randn(2, 8, requires_grad=True)
    OptionClassifier(8, 2)(torch.randn(4, 8), options).logsumexp(1).sum().backward()
    assert options.grad is not None
    assert options.grad.abs().sum() > 0


def test_own_classifier_for_modes_without_soft_options():
    head = OptionClassifier(8, 3, own=True)
    hidden = torch.randn(5, 8)
    assert head.linear is not None
    torch.testing.assert_close(head(hidden, None), hidden @ head.linear.weight.T + head.linear.bias)
    assert sum(p.numel() for p in head.parameters()) == 3 * 8 + 3


@pytest.mark.parametrize(
    ("own", "options", "message"),
    [(False, None, "own=not"), (True, torch.zeros(3, 8), "has soft options"), (False, torch.zeros(2, 8), "3 classes")],
)
def test_a_head_for_another_mode_is_refused(own, options, message):
    with pytest.raises(ValueError, match=message):
        OptionClassifier(8, 3, own=own)(torch.zeros(1, 8), options)
