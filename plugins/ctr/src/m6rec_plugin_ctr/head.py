"""The head: two soft options (or a linear classifier), calibrated by numeric statistics where settings ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from m6rec_core.errors import DataError
from m6rec_core.heads.calibration import STATISTIC_FEATURES, NumericCalibration, logit_features
from m6rec_core.heads.options import OptionClassifier
from m6rec_core.types import BackboneSpec, Prediction, Sample, TaskView
from m6rec_plugin_ctr.sample import CtrPrediction, CtrSample
from m6rec_plugin_ctr.settings import CtrConfig

CLASSES = 2
TEXT_GAIN = 20.0
"""The weight of the text is stored divided by this, so that it can travel far within a short run."""


class CtrHead(nn.Module):
    """Option logits of the text, and a calibrated margin a * text + w . statistics + b.

    The statistics' weights start at a logistic regression on the training rows' statistics (`prepare`), so that tuning
    has only what the numbers do not say left to learn.
    """

    def __init__(self, config: CtrConfig, backbone: BackboneSpec) -> None:
        """Build the parts the settings ask for: an own classifier without soft options, a calibration."""
        super().__init__()
        self.classifier = OptionClassifier(backbone.hidden, CLASSES, own=not config.soft_options)
        self.calibration = NumericCalibration(len(STATISTIC_FEATURES)) if config.calibration else None
        start = torch.tensor(config.text_weight / TEXT_GAIN)
        self.text_weight = nn.Parameter(start) if config.calibration else None

    def prepare(self, samples: Sequence[Sample]) -> None:
        """Fit the calibration's scale and start on the labelled training samples; without calibration do nothing."""
        if self.calibration is None:
            return
        rows = [cast(CtrSample, s) for s in samples]
        features = torch.tensor([logit_features(s.statistics) for s in rows], dtype=torch.float64)
        self.calibration.fit_scale(features)
        labels = [_known(s) for s in rows]
        if len(set(labels)) < CLASSES:
            raise DataError(
                f"all {len(labels)} training samples have the label {labels[0]}; a classifier needs both outcomes "
                "(more --shots, or another settings.sampling.label rule)"
            )
        scaled = (features - self.calibration.mean.double()) / self.calibration.std.double()
        fitted = LogisticRegression(C=1.0).fit(scaled.numpy(), labels)
        with torch.no_grad():
            self.calibration.weight.copy_(torch.from_numpy(fitted.coef_[0]))
            self.calibration.bias.copy_(torch.tensor(fitted.intercept_[0]))

    def option_indices(self, samples: Sequence[Sample]) -> list[int]:
        """Return 1 for each positive sample, 0 for each negative one; DataError for one without a label."""
        return [int(_known(cast(CtrSample, sample))) for sample in samples]

    def margins(self, view: TaskView) -> tuple[Tensor, Tensor]:
        """Log odds of the positive option: of the text alone, and calibrated; both [N]."""
        logits = self.classifier(view.hidden, view.options)
        text = logits[:, 1] - logits[:, 0]
        if self.calibration is None or self.text_weight is None:
            return text, text
        features = [logit_features(cast(CtrSample, s).statistics) for s in view.samples]
        numbers = torch.tensor(features, dtype=text.dtype, device=text.device)
        return text, self.calibration(TEXT_GAIN * self.text_weight * text, numbers)


def row_losses(head: CtrHead, view: TaskView) -> Tensor:
    """Cross-entropy per sample [N].

    With calibration both the text alone and the calibrated margin are taught, so that each is a probability by itself.
    """
    labels = [_known(cast(CtrSample, s)) for s in view.samples]
    text, margin = head.margins(view)
    target = torch.tensor(labels, dtype=text.dtype, device=text.device)
    loss = nn.functional.binary_cross_entropy_with_logits(margin, target, reduction="none")
    if head.calibration is not None:
        loss = loss + nn.functional.binary_cross_entropy_with_logits(text, target, reduction="none")
    return loss


def predictions(head: CtrHead, view: TaskView) -> list[Prediction]:
    """One prediction per sample, in order."""
    text, margin = head.margins(view)
    scores, text_scores = torch.sigmoid(margin).tolist(), torch.sigmoid(text).tolist()
    return [
        CtrPrediction(id=sample.id, score=score, text_score=text_score)
        for sample, score, text_score in zip(view.samples, scores, text_scores, strict=True)
    ]


def _known(sample: CtrSample) -> bool:
    if sample.label is None:
        raise DataError(f"sample {sample.id}: no label; tuning needs one in every sample")
    return sample.label
