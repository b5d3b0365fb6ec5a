"""No power cut takes an acknowledged order. The same disk, less carefully used, does lose some.

TEST_CUTS=20 for the full count (the suite makes 3). TEST_SEED=N replays. TEST_POWER_CUT=fuse|shadow
forces a kind of disk, TEST_REDIS=wheel|debian a server.
"""

import os
import random
from collections.abc import Callable, Iterator

import pytest

from core import embedded
from tests.faults import disks
from tests.faults.lives import OPEN_AGAIN_S, WAYS, Cut, Life, WholeLife

CUTS = int(os.environ.get("TEST_CUTS", "3"))
CUTS_A_LIFE = 2
SEED = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(1_000_000))
ORDERS_A_CUT_MIN = 600
TORN_CUTS = 4


@pytest.fixture
def disk(tmp_path) -> Iterator[disks.PowerCutDisk]:
    try:
        disk = disks.choose(tmp_path)
    except disks.Refused as refusal:
        pytest.skip(str(refusal))
    with disk:
        yield disk


async def cut_again_and_again(make_life: Callable[[int], Life], name: str) -> None:
    """Live life after life until there were enough cuts. None of them may take anything."""
    cuts: list[Cut] = []
    for seed in range(SEED, SEED + CUTS, CUTS_A_LIFE):
        async with make_life(seed).lived() as life:
            for index in range(min(CUTS_A_LIFE, CUTS - len(cuts))):
                way = WAYS[(seed + index) % len(WAYS)]
                cut = await life.cut(way, after=life.rng.randint(ORDERS_A_CUT_MIN, 3000))
                print(cut)
                assert not cut.lost
                assert cut.open_again_s < OPEN_AGAIN_S
                await life.audit()
                await life.ask_again()
                await life.audit()
                cuts.append(cut)
    acknowledged = sum(cut.acknowledged for cut in cuts)
    forgotten = sum(cut.forgotten.bytes for cut in cuts)
    slowest = max(cut.open_again_s for cut in cuts)
    print(
        f"{name}: {len(cuts)} cuts from seed {SEED}: {acknowledged} orders acknowledged, 0 lost; "
        f"{forgotten} bytes forgotten; open again within {slowest:.2f} s"
    )
    assert acknowledged >= ORDERS_A_CUT_MIN * CUTS


async def test_no_power_cut_takes_an_acknowledged_order(disk, tmp_path):
    await cut_again_and_again(
        lambda seed: Life(disk, tmp_path / f"redis-{seed}.log", seed=seed),
        f"Redis on {disk.name}",
    )


async def test_after_a_power_cut_every_order_is_written_down_and_the_books_add_up(
    disk, tmp_path, postgres, template
):
    def make_life(seed: int) -> WholeLife:
        log = tmp_path / f"redis-{seed}.log"
        return WholeLife(disk, log, seed=seed, postgres=postgres, template=template)

    await cut_again_and_again(make_life, f"The whole shop on {disk.name}")


async def test_a_batch_torn_in_two_is_not_finished_by_a_later_life(disk, tmp_path):
    # Redis 7.0 with `aof-load-truncated yes` keeps the first half of a torn MULTI in its log, and
    # runs it at the start after the next.
    async with Life(disk, tmp_path / "redis.log", seed=SEED, tail="prefix").lived() as life:
        for _ in range(TORN_CUTS):
            cut = await life.cut("held", after=300)
            assert not cut.lost
            await life.audit()
            await life.ask_again()
            await life.audit()


async def test_blocks_out_of_order_stop_redis_or_lose_nothing_but_never_in_silence(disk, tmp_path):
    async with Life(disk, tmp_path / "redis.log", seed=SEED, tail="hole").lived() as life:
        try:
            cut = await life.cut("held", after=1000)
        except embedded.DamagedLog as refusal:
            # Data behind the damage may have been fsynced, for all the log tells: a person decides.
            print(f"refused: {refusal}")
            return
        print(cut)
        assert not cut.lost
        await life.audit()


# Each breaks the promise of the disk in one way that people really run.
CARELESS = {
    "everysec": {"appendfsync": "everysec"},
    # The delay stands in for a shop whose rewrite takes long because it is large.
    "no-appendfsync-on-rewrite": {
        "no-appendfsync-on-rewrite": "yes",
        "rdb-key-save-delay": "300000",
    },
    "snapshots only": {"appendonly": "no", "save": "1 1"},
}


@pytest.mark.parametrize("how", CARELESS)
async def test_a_careless_redis_loses_acknowledged_orders(disk, tmp_path, how):
    way = "in a rewrite" if "rewrite" in how else "at once"
    life = Life(disk, tmp_path / "redis.log", seed=SEED, settings=CARELESS[how], tail="nothing")
    async with life.lived():
        cut = await life.cut(way, after=1000)
        print(f"{how}: {len(cut.lost)} of {len(life.ledger.accepted)} acknowledged orders lost")
        assert cut.lost
