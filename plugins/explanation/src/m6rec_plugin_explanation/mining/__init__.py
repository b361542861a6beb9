"""Features of reviews, found by counting: what people write opinions about, after Hu and Liu (2004)."""
