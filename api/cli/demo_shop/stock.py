"""Places, and what stands in each: plenty in the middle, and elsewhere what a shop has."""

from collections.abc import Mapping, Sequence
from random import Random

from core.flows.furnish_shop import Load, Site, Stock, Trip
from core.inventory import TransferState

# The warehouse that every shop has from its first day. It serves every region.
MAIN = "MAIN"
SHANGHAI, GUANGZHOU, CHENGDU = "EAST-1", "SOUTH-1", "WEST-1"
NANJING_ROAD, CHUNXI_ROAD = "SHOP-SH", "SHOP-CD"
SITES = [
    Site(SHANGHAI, "warehouse", {"en": "Shanghai warehouse", "zh": "上海仓"}, "CN-SH", 10),
    Site(GUANGZHOU, "warehouse", {"en": "Guangzhou warehouse", "zh": "广州仓"}, "CN-GD", 20),
    Site(CHENGDU, "warehouse", {"en": "Chengdu warehouse", "zh": "成都仓"}, "CN-SC", 30),
    Site(NANJING_ROAD, "store", {"en": "Shop on Nanjing Road", "zh": "南京路店"}, "CN-SH", 40),
    Site(CHUNXI_ROAD, "store", {"en": "Shop on Chunxi Road", "zh": "春熙路店"}, "CN-SC", 50),
]

# Ten million for the demo sale, ten for a sale of your own, and some to fill the other places from.
PLENTY = 20_001_000
# How many SKUs a place keeps, and of each from so many units up to so many.
KEEPS = {
    SHANGHAI: (640, 140, 900),
    GUANGZHOU: (520, 120, 700),
    CHENGDU: (380, 110, 500),
    NANJING_ROAD: (150, 60, 140),
    CHUNXI_ROAD: (110, 60, 110),
}
# Of these it has too few of the first: 50 or less raise an alert.
SHORT_COUNT = 4
SHORT = (6, 48)
DAMAGED = (2, 5, 1)
# From the middle to another place: some of what is short there, and some of what is not.
CARRIED = (24, 60, 36, 12, 48, 18)
CARRIED_FROM = 2
LOST = 2
# An open count found too few of one, and some more of another.
MISCOUNTED = (-12, 7)


def draw(codes: Sequence[str], seed: int) -> Stock:
    """Where the units of these SKU codes are."""
    dice = Random(f"{seed} stock")  # noqa: S311  has to be drawn again
    kept = {site: _kept(codes, site, dice) for site in KEEPS}
    arrived, sent, planned = (
        dict(zip(list(kept[site])[CARRIED_FROM:], CARRIED, strict=False))
        for site in (SHANGHAI, CHENGDU, GUANGZHOU)
    )
    return Stock(
        received=[Load(MAIN, dict.fromkeys(codes, PLENTY)), *(Load(*one) for one in kept.items())],
        damaged=[
            Load(site, dict(zip(list(units)[SHORT_COUNT:], DAMAGED, strict=False)))
            for site, units in kept.items()
        ],
        trips=[
            Trip(MAIN, SHANGHAI, arrived, TransferState.ARRIVED, {next(iter(arrived)): LOST}),
            Trip(MAIN, CHENGDU, sent, TransferState.SENT),
            Trip(MAIN, GUANGZHOU, planned, TransferState.PLANNED),
        ],
        counted=[Load(CHENGDU, _miscounted(kept[CHENGDU]))],
    )


def _kept(codes: Sequence[str], site: str, dice: Random) -> dict[str, int]:
    """SKU code -> units, those of which there are too few first."""
    count, fewest, most = KEEPS[site]
    chosen = dice.sample(codes, count)
    ranges = [SHORT] * SHORT_COUNT + [(fewest, most)] * (count - SHORT_COUNT)
    return {code: dice.randint(*each) for code, each in zip(chosen, ranges, strict=True)}


def _miscounted(units: Mapping[str, int]) -> dict[str, int]:
    """The last ones, of which nothing was damaged or carried."""
    last = list(units)[-len(MISCOUNTED) :]
    return {code: units[code] + wrong for code, wrong in zip(last, MISCOUNTED, strict=True)}
