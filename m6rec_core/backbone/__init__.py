"""Stage 4: one interface to a frozen language model: embed, run a slice of layers, final norm, vocabulary."""
