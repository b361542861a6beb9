"""Stage 9: rows of text are continued, with a cache of keys and values, sampling, beams and constraints."""
