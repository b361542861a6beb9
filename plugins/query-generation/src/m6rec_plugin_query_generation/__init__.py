"""The pip distribution m6rec-plugin-query-generation: search queries for a user, from history or from a stated need."""
