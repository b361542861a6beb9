"""The pip distribution m6rec-plugin-explanation: why would this user like this item, in words learnt from reviews."""
