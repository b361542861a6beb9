"""The tiers of the segment cache: what they hold, what a fault does, what a changed pack reads."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import late_rows as kit
import pytest
import torch

from m6rec_core.config import CacheConfig
from m6rec_core.errors import ConfigError
from m6rec_core.late.encoder import SegmentText
from m6rec_core.late.opening import open_cache
from m6rec_core.late.stores import DiskStore, RedisStore, StoreError
from m6rec_core.late.values import DamagedValueError, from_bytes, restore, store, to_bytes
from m6rec_core.tokens.tree import Piece

LIMIT = 64 << 20
TEXTS = [tuple(range(5 + i, 9 + 2 * i)) for i in range(6)]


def piece(ids: tuple[int, ...], offset: int = 0, recurs: bool = True) -> Piece:
    return Piece(0, offset, len(ids) - offset, ids, False, recurs)


PIECES = [piece(TEXTS[0]), piece(TEXTS[1], offset=2), piece(TEXTS[0]), piece(TEXTS[5])]


def asked(cache, model, pieces=PIECES) -> torch.Tensor:
    return cache.gather(model.tunings["lines"], 2, pieces)


@pytest.fixture(scope="module")
def model():
    return kit.late_model()


@pytest.fixture(scope="module")
def expected(model):
    """States of PIECES, each segment run by itself."""
    backbone, found = model.backbone, []
    with torch.no_grad():
        for one in PIECES:
            layout = kit.alone(len(one.ids))
            states = backbone.run(backbone.embed(torch.tensor([one.ids])), layout, 0, 2)[0]
            found.append(states[one.offset :])
    return torch.cat(found)


def same(left: torch.Tensor, right: torch.Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)


class Broken:
    """A store that fails from its first use on."""

    name = "redis"

    def __init__(self) -> None:
        self.calls = 0

    def get(self, digests):
        self.calls += 1
        raise StoreError("connection refused")

    def put(self, values):
        self.calls += 1
        raise StoreError("connection refused")

    def close(self):
        pass


class Held:
    """A store in a dictionary, to look into and to damage."""

    name = "disk"

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def get(self, digests):
        return [self.values.get(digest) for digest in digests]

    def put(self, values):
        self.values.update(values)

    def close(self):
        pass


def test_memory_answers_what_it_was_asked_before(model, expected):
    cache = kit.cache_of(model)
    same(asked(cache, model), expected)
    same(asked(cache, model), expected)
    counts = cache.counts()
    assert (counts.asked, counts.computed, counts.memory) == (8, 3, 5)
    assert counts.hit_rate == pytest.approx(5 / 8)
    assert counts.segments == 3
    assert counts.bytes == counts.tokens * 32 * 8 == sum(len(TEXTS[i]) for i in (0, 1, 5)) * 32 * 8
    assert counts.bytes_per_segment == counts.bytes / 3


def test_after_eviction_is_as_before_and_bytes_stay_within_the_limit(model, expected):
    limit = 20 * 32 * 8
    cache = kit.cache_of(model, memory=limit)
    for _ in range(3):
        same(asked(cache, model), expected)
        for text in TEXTS:
            asked(cache, model, [piece(text)])
        assert cache.counts().bytes <= limit
    assert cache.counts().evictions > 0


def test_least_recently_used_leaves_first(model):
    cache = kit.cache_of(model, memory=(len(TEXTS[0]) + len(TEXTS[1]) + 1) * 32 * 8)
    for text in (TEXTS[0], TEXTS[1], TEXTS[0], tuple(range(40, 43))):
        asked(cache, model, [piece(text)])
    computed = cache.counts().computed
    asked(cache, model, [piece(TEXTS[0])])
    assert cache.counts().computed == computed
    asked(cache, model, [piece(TEXTS[1])])
    assert cache.counts().computed == computed + 1


def test_a_segment_larger_than_memory_and_one_that_does_not_recur_are_not_kept(model, expected):
    small = kit.cache_of(model, memory=2 * 32 * 8)
    same(asked(small, model), expected)
    assert small.counts().segments == 0
    held = Held()
    cache = kit.cache_of(model, stores=[held])
    same(asked(cache, model, [piece(TEXTS[0], recurs=False)]), expected[: len(TEXTS[0])])
    assert cache.counts().segments == 0
    assert held.values == {}


def test_eight_bits_are_the_same_fresh_and_kept_and_close(model, expected):
    held = Held()
    cache = kit.cache_of(model, eight_bit=True, stores=[held])
    fresh = asked(cache, model)
    assert torch.equal(asked(cache, model), fresh)
    cache.forget()
    assert torch.equal(asked(cache, model), fresh)
    error = (fresh - expected).abs().amax(dim=1) / expected.abs().amax(dim=1)
    assert 0 < float(error.max()) <= 0.5 / 127 + 1e-6
    assert cache.counts().bytes == cache.counts().tokens * (32 + 4)


@pytest.mark.parametrize("eight_bit", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_values_survive_as_bytes_and_damage_is_noticed(dtype, eight_bit):
    stored = store(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).to(dtype), eight_bit)
    value = to_bytes(stored)
    back = from_bytes(value, 3, 8)
    assert torch.equal(restore(back.rows, back.scale, dtype), restore(stored.rows, stored.scale, dtype))
    flipped = value[:-1] + bytes([value[-1] ^ 1])
    for bad in (b"", value[:10], value[:-1], flipped, b"X" + value[1:], value + b"0"):
        with pytest.raises(DamagedValueError):
            from_bytes(bad, 3, 8)
    with pytest.raises(DamagedValueError):
        from_bytes(value, 4, 8)


def test_a_store_that_fails_costs_time_only_is_told_once_and_left_alone(model, expected):
    told: list[str] = []
    broken = Broken()
    cache = kit.cache_of(model, stores=[broken], say=told.append)
    same(asked(cache, model), expected)
    for text in TEXTS:
        asked(cache, model, [piece(text)])
    assert len(told) == 1
    assert "redis failed" in told[0]
    assert "connection refused" in told[0]
    assert broken.calls == cache.counts().faults == 2  # one read, one write, then it is left alone for a while


def test_a_truncated_value_is_computed_again_counted_and_replaced(model, expected):
    held, told = Held(), []
    same(asked(kit.cache_of(model, stores=[held]), model), expected)
    whole = dict(held.values)
    held.values = {digest: value[:-3] for digest, value in whole.items()}
    cache = kit.cache_of(model, stores=[held], say=told.append)
    same(asked(cache, model), expected)
    assert cache.counts().faults == len(whole) == 3
    assert len(told) == 1
    assert held.values == whole
    again = kit.cache_of(model, stores=[held])
    same(asked(again, model), expected)
    assert (again.counts().disk, again.counts().computed, again.counts().hit_rate) == (3, 0, 1.0)


def test_a_changed_pack_reads_nothing_stale_and_equal_lower_layers_share():
    held = Held()
    first = kit.late_model(adapter_layers="all")
    states = asked(kit.cache_of(first, stores=[held]), first)
    other = kit.late_model(adapter_layers="all", seed=2)
    cache = kit.cache_of(other, stores=[held])
    assert not torch.allclose(asked(cache, other), states)
    assert cache.counts().disk == 0
    upper = [kit.late_model(seed=seed) for seed in (1, 2)]
    same(asked(kit.cache_of(upper[0], stores=[held]), upper[0]), asked(kit.cache_of(upper[1]), upper[1]))
    shared = kit.cache_of(upper[1], stores=[held])
    asked(shared, upper[1])
    assert shared.counts().computed == 0
    with torch.no_grad():
        first.tunings["lines"].adapters.layers["0"].w2.add_(1.0)
    changed = kit.cache_of(first, stores=[held])
    asked(changed, first)
    assert changed.counts().computed == 3


def test_warming_brings_segments_in_before_they_are_asked_for(model, expected):
    cache, ticks = kit.cache_of(model), []
    segments = [SegmentText(text, False) for text in (*TEXTS, *TEXTS)]
    assert cache.warm(model.tunings["lines"], 2, segments, ticks.append) == len(TEXTS)
    assert sum(ticks) == len(TEXTS)
    same(asked(cache, model), expected)
    assert cache.counts().hit_rate == 1.0


def test_threads_may_ask_at_once(model, expected):
    cache = kit.cache_of(model, memory=30 * 32 * 8)
    wrong: list[Exception] = []

    def ask() -> None:
        try:
            for _ in range(10):
                same(asked(cache, model), expected)
        except Exception as error:  # a thread's failure must reach the test
            wrong.append(error)

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.counts().asked == 4 * 10 * len(PIECES)


def test_disk_serves_the_next_process(model, expected, tmp_path):
    pytest.importorskip("lmdb")
    for number in range(2):
        disk = DiskStore(tmp_path / "states", LIMIT)
        cache = kit.cache_of(model, stores=[disk])
        same(asked(cache, model), expected)
        assert cache.counts().computed == (3 if number == 0 else 0)
        cache.close()


def test_a_full_disk_falls_back_to_computing(model, expected, tmp_path):
    pytest.importorskip("lmdb")
    told: list[str] = []
    cache = kit.cache_of(model, stores=[DiskStore(tmp_path / "states", 40_000)], say=told.append)
    for start in range(5, 200, 20):
        asked(cache, model, [piece(tuple(range(start, start + 20)))])
        cache._tiers[0].write_at = 0.0
    same(asked(cache, model), expected)
    assert cache.counts().faults > 0
    assert len(told) == 1
    assert "disk failed" in told[0]


def test_a_folder_that_is_no_cache_is_told_once_counted_and_done_without(model, expected, tmp_path):
    pytest.importorskip("lmdb")
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / "data.mdb").write_bytes(b"this is no database" * 1000)
    told: list[str] = []
    cache = open_cache(CacheConfig(folder=str(tmp_path / "states"), memory_mb=1), model.backbone, told.append)
    same(asked(cache, model), expected)
    assert cache.counts().faults == len(told) == 1
    assert "disk failed" in told[0]


def truncated() -> Held:
    """A store whose values all come back cut short."""
    held = Held()
    held.get = lambda digests: [None if held.values.get(d) is None else held.values[d][:-2] for d in digests]
    return held


@pytest.mark.parametrize("fault", ["gone", "truncated", "full"])
def test_whatever_fails_the_answers_are_those_without_a_cache(fault, tmp_path):
    from m6rec_core.model import TunedTask
    from m6rec_core.testing import encode_samples, one_batch

    model = kit.late_model()
    tuned = TunedTask(kit.TASK, kit.SETTINGS, model.tunings["lines"], model.heads["lines"])
    batch = one_batch(encode_samples("lines", tuned, kit.fixed_samples(), model.backbone), model.backbone)
    plain = [answer.score for answer in model.predict(batch)["lines"]]
    if fault == "full":
        pytest.importorskip("lmdb")
        store = DiskStore(tmp_path / "states", 20_000)
    else:
        store = Broken() if fault == "gone" else truncated()
    told: list[str] = []
    cache = kit.cache_of(model, memory=8 * 32 * 8, stores=[store], say=told.append)
    model.segments = cache
    for _ in range(3):
        assert [answer.score for answer in model.predict(batch)["lines"]] == pytest.approx(plain, rel=1e-9)
        cache._tiers[0].read_at = cache._tiers[0].write_at = 0.0
    assert cache.counts().faults > 0
    assert len(told) == 1


def test_two_processes_fill_one_folder_and_each_reads_what_the_other_wrote(model, expected, tmp_path):
    pytest.importorskip("lmdb")
    from multiprocessing import get_context

    def fill(number: int) -> None:
        cache = kit.cache_of(model, stores=[DiskStore(tmp_path / "states", LIMIT)])
        for text in TEXTS if number else TEXTS[::-1]:
            asked(cache, model, [piece(text)])
        same(asked(cache, model), expected)
        cache.close()

    processes = [get_context("fork").Process(target=fill, args=(number,)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    cache = kit.cache_of(model, stores=[DiskStore(tmp_path / "states", LIMIT)])
    same(asked(cache, model), expected)
    assert (cache.counts().computed, cache.counts().disk) == (0, 3)
    cache.close()


WRITER = """
import sys, itertools
from pathlib import Path
from m6rec_core.late.stores import DiskStore
store = DiskStore(Path(sys.argv[1]), 1 << 28)
print("ready", flush=True)
for n in itertools.count() if sys.argv[3] == "endless" else range(20):
    store.put({f"{sys.argv[2]}-{n % 50}-{k}".encode(): bytes([n % 50]) * 20_000 for k in range(20)})
"""


def writer(folder: Path, name: str, kind: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, folder, name, kind], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_process_killed_while_writing_leaves_whole_values(tmp_path):
    pytest.importorskip("lmdb")
    for _ in range(2):
        process = writer(tmp_path / "states", "a", "endless")
        time.sleep(0.4)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        disk = DiskStore(tmp_path / "states", 1 << 28)
        groups = [disk.get([f"a-{n}-{k}".encode() for k in range(20)]) for n in range(50)]
        assert any(group[0] is not None for group in groups)
        for n, group in enumerate(groups):
            assert group in ([None] * 20, [bytes([n]) * 20_000] * 20)  # all of a write or nothing of it
        disk.put({b"after": b"1"})
        assert disk.get([b"after"]) == [b"1"]
        disk.close()


def test_two_processes_write_and_a_third_reads_at_once(tmp_path):
    pytest.importorskip("lmdb")
    processes = [writer(tmp_path / "states", name, "short") for name in "ab"]
    disk = DiskStore(tmp_path / "states", 1 << 28)
    while any(process.poll() is None for process in processes):
        for name in "ab":
            value = disk.get([f"{name}-19-0".encode()])[0]
            assert value in (None, bytes([19]) * 20_000)
    assert [process.returncode for process in processes] == [0, 0]
    for name in "ab":
        values = disk.get([f"{name}-{n}-3".encode() for n in range(20)])
        assert values == [bytes([n]) * 20_000 for n in range(20)]
    disk.close()


@pytest.fixture
def redis_server(tmp_path):
    """A real server on a loopback port, without persistence."""
    pytest.importorskip("redis")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian package redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    import redis

    for _ in range(100):
        try:
            redis.Redis.from_url(url).ping()
            break
        except redis.ConnectionError:
            time.sleep(0.1)
    yield url, process
    process.kill()
    process.wait()


def test_redis_serves_another_cache_and_may_go_away(model, expected, redis_server):
    url, process = redis_server
    told: list[str] = []
    same(asked(kit.cache_of(model, stores=[RedisStore(url, seconds=600)]), model), expected)
    cache = kit.cache_of(model, stores=[RedisStore(url)], say=told.append)
    same(asked(cache, model), expected)
    assert (cache.counts().redis, cache.counts().computed) == (3, 0)
    process.kill()
    process.wait()
    cache.forget()
    same(asked(cache, model), expected)
    assert cache.counts().faults == 2
    assert len(told) == 1
    assert "redis failed" in told[0]


def test_what_disk_lacks_redis_brings_to_disk(model, expected):
    disk, far = Held(), Held()
    far.name = "redis"
    asked(kit.cache_of(model, stores=[far]), model)
    cache = kit.cache_of(model, stores=[disk, far])
    same(asked(cache, model), expected)
    assert cache.counts().redis == 3
    assert disk.values == far.values


def test_a_wrong_address_is_a_config_error():
    pytest.importorskip("redis")
    with pytest.raises(ConfigError, match="redis://host:port/0"):
        RedisStore("nonsense")
