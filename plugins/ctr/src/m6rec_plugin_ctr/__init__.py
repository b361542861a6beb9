"""The pip distribution m6rec-plugin-ctr: click-through and conversion rate as one task."""
