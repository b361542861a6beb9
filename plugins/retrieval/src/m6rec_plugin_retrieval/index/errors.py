"""The one error of the index and its files."""

from m6rec_core.errors import M6RecError


class VectorIndexError(M6RecError):
    """Vectors or ids do not fit an index, or an index file is damaged or belongs to another task pack."""
