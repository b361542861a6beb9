"""Stage `text`: how a domain speaks. Events, items, users and numbers become phrases of plain text."""
