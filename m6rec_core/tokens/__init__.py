"""Stage 3: segments of text become token ids, a prefix tree, a layout (who sees whom) and batches."""
