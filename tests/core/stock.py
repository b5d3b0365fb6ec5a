"""What stock should be, kept by hand: figures of places, and what they keep for whom."""

from collections import Counter

from core import inventory

# A dull life proves little: so many of the fifteen kinds of movement come up at least.
KINDS_MIN = 11
FIGURES = ("on_hand", "reserved", "allocated", "free", "in_transit", "damaged")
Shelf = tuple[int, int]


class Stock:
    """`free` is counted by itself, so that the sum of the others proves something."""

    def __init__(self) -> None:
        self.figures: dict[Shelf, Counter[str]] = {}
        self.kept: dict[tuple[str, int, int], Counter[str]] = {}

    def change(self, sku: int, place: int, **by: int) -> None:
        figures = self.figures.setdefault((sku, place), Counter())
        figures.update(by)
        assert min(figures.values(), default=0) >= 0
        assert figures["on_hand"] == figures["reserved"] + figures["allocated"] + figures["free"]

    def shows(self, figure: str, sku: int, place: int) -> int:
        return self.figures.get((sku, place), Counter())[figure]

    def keep(self, purpose: str, kept: list[inventory.Kept]) -> None:
        for one in kept:
            self.change(one.sku_id, one.place_id, reserved=one.quantity, free=-one.quantity)
            key = (purpose, one.sku_id, one.place_id)
            self.kept.setdefault(key, Counter())["reserved"] += one.quantity

    def has(self, purpose: str, sku: int, figure: str) -> int:
        return sum(n[figure] for (p, s, _), n in self.kept.items() if (p, s) == (purpose, sku))

    def settle(self, kind: str, purpose: str, sku: int, quantity: int) -> None:
        """From the place with the lowest number on."""
        source, target, by = STEPS[kind]
        for (who, what, place), kept in sorted(self.kept.items()):
            if (who, what) == (purpose, sku):
                moved = min(kept[source], quantity)
                quantity -= moved
                kept[source] -= moved
                kept[target] += moved
                self.change(sku, place, **{figure: sign * moved for figure, sign in by.items()})
        assert quantity == 0

    def shown(self) -> dict[Shelf, tuple[int, ...]]:
        return {
            shelf: tuple(figures[name] for name in FIGURES)
            for shelf, figures in self.figures.items()
        }


# From where, to where, and what becomes of the place's figures.
STEPS = {
    "release": ("reserved", "gone", {"reserved": -1, "free": 1}),
    "allocate": ("reserved", "allocated", {"reserved": -1, "allocated": 1}),
    "recall": ("allocated", "reserved", {"reserved": 1, "allocated": -1}),
    "ship": ("allocated", "shipped", {"allocated": -1, "on_hand": -1}),
}
VERBS = {
    "release": inventory.release,
    "allocate": inventory.allocate,
    "recall": inventory.recall,
    "ship": inventory.ship,
    "receive": inventory.receive,
    "damage": inventory.damage,
    "mend": inventory.mend,
    "scrap": inventory.scrap,
}
# What each needs, and what becomes of the place's figures.
DEEDS = {
    "receive": (None, {"on_hand": 1, "free": 1}),
    "damage": ("free", {"on_hand": -1, "free": -1, "damaged": 1}),
    "mend": ("damaged", {"on_hand": 1, "free": 1, "damaged": -1}),
    "scrap": ("damaged", {"damaged": -1}),
}
