"""From settings to a segment cache with its tiers."""

from __future__ import annotations

from pathlib import Path

from m6rec_core.backbone.hf import Backbone
from m6rec_core.config import CacheConfig
from m6rec_core.late.cache import SegmentCache
from m6rec_core.late.counts import Say
from m6rec_core.late.stores import DiskStore, RedisStore, Store, StoreError

_MEGABYTE = 1 << 20


def open_cache(config: CacheConfig, backbone: Backbone, say: Say = lambda _line: None) -> SegmentCache:
    """Open the tiers that the settings name; a folder that cannot be used is told, counted and done without.

    Raises ConfigError when a tier's package is missing.
    """
    stores: list[Store] = []
    broken: StoreError | None = None
    if config.folder is not None:
        try:
            stores.append(DiskStore(Path(config.folder), config.disk_mb * _MEGABYTE))
        except StoreError as error:
            broken = error
    if config.redis is not None:
        stores.append(RedisStore(config.redis, config.redis_seconds))
    cache = SegmentCache(backbone, config.memory_mb * _MEGABYTE, stores, config.eight_bit, say)
    if broken is not None:
        cache.fault(DiskStore.name, broken)
    return cache
