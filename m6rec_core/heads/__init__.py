"""Stage 6: the bricks that plugins compose their heads from."""
