"""Vectors of any items and users from a task pack: what the index and the commands are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from m6rec_core.serving.opening import Opened, open_pack
from m6rec_core.types import Item
from m6rec_plugin_retrieval.sample import RetrievalPrediction, RetrievalSample, item_sample, user_sample
from m6rec_plugin_retrieval.serialize import item_text
from m6rec_plugin_retrieval.settings import RetrievalConfig
from m6rec_plugin_retrieval.telling import Say, Told

Float32Array = NDArray[np.float32]
TOLD = 500
"""Items between two lines about how far the encoding is."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemEncoder:
    """A loaded pack of the retrieval task. All vectors are float32 and of length 1."""

    opened: Opened

    @property
    def pack_hash(self) -> str:
        """sha256 of the pack's tensors: vectors of another pack cannot be compared with these."""
        return self.opened.manifest.tensors_sha256

    @property
    def settings(self) -> RetrievalConfig:
        """The task's settings as the pack was tuned with them."""
        return cast(RetrievalConfig, self.opened.settings)

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return self.settings.width

    def texts(self, items: Sequence[Item]) -> list[str]:
        """The text of each item, which decides its vector: equal texts have equal vectors."""
        return [item_text(item, self.settings) for item in items]

    def encode(self, items: Sequence[Item]) -> Float32Array:
        """Vectors [n, width] of items, in their order."""
        return self._vectors([item_sample(item) for item in items])

    def encode_catalogue(self, items: Sequence[Item], say: Say) -> Float32Array:
        """Vectors [n, width] of many items, in their order; `say` hears how far it is."""
        told, found = Told("items", len(items), say), []
        for start in range(0, len(items), TOLD):
            found.append(self.encode(items[start : start + TOLD]))
            told(len(found[-1]))
        return np.concatenate(found) if found else self.encode(())

    def encode_users(self, samples: Sequence[RetrievalSample]) -> Float32Array:
        """Vectors [n, width] of the users of samples, each with a history."""
        return self._vectors([user_sample(sample) for sample in samples])

    def _vectors(self, samples: Sequence[RetrievalSample]) -> Float32Array:
        if not samples:
            return np.zeros((0, self.width), dtype=np.float32)
        found = [cast(RetrievalPrediction, one).vector for one in self.opened.predict(samples)]
        return np.asarray(found, dtype=np.float32)


def open_encoder(pack: Path, backbone: str | None = None, say: Say = lambda _line: None) -> ItemEncoder:
    """Load a pack of the retrieval task. Raises PackError for a pack of another task, or of another backbone."""
    return ItemEncoder(open_pack(pack, backbone, None, say, task="retrieval"))
