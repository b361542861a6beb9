"""Vectors of all items, searched for the nearest: backends, files, and the store of encoded items."""

from m6rec_plugin_retrieval.index.catalogue import EncodedCatalogue
from m6rec_plugin_retrieval.index.errors import VectorIndexError
from m6rec_plugin_retrieval.index.exact import ExactIndex
from m6rec_plugin_retrieval.index.files import IndexManifest, StoredIndex, load_index, read_index_manifest, save_index
from m6rec_plugin_retrieval.index.hnsw import HnswIndex, HnswSettings
from m6rec_plugin_retrieval.index.item_table import read_items
from m6rec_plugin_retrieval.index.protocol import Hits, VectorIndex
from m6rec_plugin_retrieval.index.recall import HeldOut, Recall, build_index, tune_ef

__all__ = [
    "EncodedCatalogue",
    "ExactIndex",
    "HeldOut",
    "Hits",
    "HnswIndex",
    "HnswSettings",
    "IndexManifest",
    "Recall",
    "StoredIndex",
    "VectorIndex",
    "VectorIndexError",
    "build_index",
    "load_index",
    "read_index_manifest",
    "read_items",
    "save_index",
    "tune_ef",
]
