"""Stage 5: soft prompts and options, FFN adapters, the five modes, the parameter budget and task packs (paper 3.4)."""
