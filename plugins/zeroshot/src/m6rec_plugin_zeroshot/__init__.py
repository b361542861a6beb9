"""The pip distribution m6rec-plugin-zeroshot: choose among texts by their likelihood, without training."""
