"""Comparison models for m6rec runs, found through the entry point group `m6rec.baselines`."""
