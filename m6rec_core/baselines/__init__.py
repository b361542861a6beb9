"""Stage `baselines`: what the model is compared with on the same rows, and the protocol for adding more."""

from m6rec_core.baselines.data import NO_EVENT, UNKNOWN_OUTCOME, Baseline, BaselineData, BaselineResult
from m6rec_core.baselines.samples import baseline_data
from m6rec_core.baselines.trivial import TRIVIAL

__all__ = ["NO_EVENT", "TRIVIAL", "UNKNOWN_OUTCOME", "Baseline", "BaselineData", "BaselineResult", "baseline_data"]
