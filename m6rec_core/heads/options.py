"""The classifier over C options (paper 3.2 "scoring tasks" and Fig. 2)."""

from __future__ import annotations

from torch import Tensor, nn


class OptionClassifier(nn.Module):
    """Logits over C options.

    With soft options it has no parameters: the logits are `hidden @ options.T`, as a tied language-model head would
    score the answer words. In tuning modes without soft options (`TaskConfig.soft_options` False) it owns a linear
    layer instead: build it as `OptionClassifier(backbone.hidden, C, own=not config.soft_options)`.
    """

    def __init__(self, hidden: int, classes: int, own: bool = False) -> None:
        """`hidden` is D, `classes` is C; `own` builds the linear layer."""
        super().__init__()
        self.classes = classes
        self.linear = nn.Linear(hidden, classes) if own else None

    def forward(self, hidden: Tensor, options: Tensor | None) -> Tensor:
        """Map `hidden` [N, D] and the soft options [C, D] (None where the head has its own layer) to logits [N, C].

        Raises ValueError when the head was built for the other kind of mode, or for another number of options.
        """
        if self.linear is not None:
            if options is not None:
                raise ValueError("this head owns a linear classifier, but the tuning mode has soft options")
            logits: Tensor = self.linear(hidden)
            return logits
        if options is None:
            raise ValueError("the tuning mode has no soft options: build the head with own=not config.soft_options")
        if options.shape[0] != self.classes:
            raise ValueError(f"the head has {self.classes} classes, but there are {options.shape[0]} soft options")
        return hidden @ options.to(hidden.dtype).T
