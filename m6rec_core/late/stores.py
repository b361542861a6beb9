"""Tiers that outlive a process: LMDB on disk, shared by the processes of a machine, and Redis, shared by machines.

A store gives and takes bytes by digest. Whatever goes wrong in it is an OSError here, which the cache survives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from m6rec_core.errors import ConfigError


class StoreError(OSError):
    """A store cannot be read or written now."""


class Store(Protocol):
    """Bytes by digest. `name` is what users call the tier."""

    name: str

    def get(self, digests: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each digest, None where there is none. Raises StoreError."""
        ...

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values; a value that is there may be overwritten. Raises StoreError."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class DiskStore:
    """An LMDB folder. Writers take turns, readers never wait, and a process killed while writing leaves it whole.

    It grows to `limit` bytes and then takes nothing more (StoreError); delete the folder to start anew.
    """

    name = "disk"

    def __init__(self, folder: Path, limit: int) -> None:
        """Open or create the folder. Raises ConfigError without the lmdb package, StoreError when it cannot be used."""
        try:
            import lmdb
        except ImportError as error:
            raise ConfigError("cache.folder needs the package lmdb: pip install 'm6rec-core[late]'") from error
        self._error: type[Exception] = lmdb.Error
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._env: Any = lmdb.open(str(folder), map_size=limit, max_readers=512)
            self._env.reader_check()
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"{folder}: {error}") from error

    def get(self, digests: Sequence[bytes]) -> list[bytes | None]:
        """See `Store`."""
        try:
            with self._env.begin() as transaction:
                return [transaction.get(digest) for digest in digests]
        except self._error as error:
            raise StoreError(str(error)) from error

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """See `Store`; all values or none."""
        try:
            with self._env.begin(write=True) as transaction:
                for digest, value in values.items():
                    transaction.put(digest, value)
        except self._error as error:
            raise StoreError(str(error)) from error

    def close(self) -> None:
        """See `Store`."""
        self._env.close()


class RedisStore:
    """A Redis server. Values expire after `seconds` where given; otherwise the server's own policy evicts them."""

    name = "redis"

    def __init__(self, url: str, seconds: int | None = None) -> None:
        """Use the server at `url` (redis://host:port/db); connects when first asked. ConfigError without redis."""
        try:
            import redis
        except ImportError as error:
            raise ConfigError("cache.redis needs the package redis: pip install 'm6rec-core[redis]'") from error
        self._error: type[Exception] = redis.RedisError
        self._seconds = seconds
        try:
            self._client: Any = redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
        except ValueError as error:
            raise ConfigError(f"cache.redis is {url!r}: {error}; write it as redis://host:port/0") from error

    def get(self, digests: Sequence[bytes]) -> list[bytes | None]:
        """See `Store`."""
        try:
            return list(self._client.mget([b"m6rec:" + digest for digest in digests]))
        except (self._error, OSError) as error:
            raise StoreError(str(error)) from error

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """See `Store`."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for digest, value in values.items():
                    pipe.set(b"m6rec:" + digest, value, ex=self._seconds)
                pipe.execute()
        except (self._error, OSError) as error:
            raise StoreError(str(error)) from error

    def close(self) -> None:
        """See `Store`."""
        self._client.close()
