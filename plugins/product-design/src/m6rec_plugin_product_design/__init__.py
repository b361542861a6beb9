"""The pip distribution m6rec-plugin-product-design: category and title of a product that a user would buy next."""
