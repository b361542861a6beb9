"""Shipped for plugin authors: a conformance kit, a tiny backbone and a tiny tokenizer."""
