"""The pip distribution m6rec-plugin-retrieval: finding items for a user among all of them, with an index."""
