"""Stage 10: multi-segment late interaction (paper 3.3): the content-addressed cache of the lower layers' states."""
