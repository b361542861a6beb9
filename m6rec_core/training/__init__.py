"""Stage 7: training on accelerate. Packs are planned into steps, row losses become one objective, runs resume."""
