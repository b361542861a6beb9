"""Retrieval: finding candidates among all items, from text alone."""
