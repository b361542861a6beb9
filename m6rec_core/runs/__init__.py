"""Stage 8: a whole run, from logs to a report: resolve settings, prepare, tune, score, compare, write."""
