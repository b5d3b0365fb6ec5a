"""What the scripts mean that decide, move and show units, in as few lines as will say it."""

from collections import Counter


class Model:
    def __init__(self, left, limits, backlog_max):
        self.left, self.limits, self.backlog_max = dict(left), limits, backlog_max
        self.open, self.closed = True, False
        self.written = 0
        self.stream, self.answers, self.held = [], {}, Counter()
        self.returned, self.back = set(), Counter()
        self.freed = 0
        self.transfers, self.transferred = {}, Counter()

    def claim(self, member, key, sku, quantity):  # noqa: PLR0911 - one line a verdict
        if (member, key) in self.answers:
            return "=", self.answers[member, key]
        if not self.open:
            return "w", None
        if len(self.stream) - self.written >= self.backlog_max:
            return "b", None
        if sku not in self.left:
            return "n", None
        if self.left[sku] is None:
            return "x", None
        if self.held[sku, member] + quantity > self.limits[sku]:
            return "l", None
        if self.left[sku] < quantity:
            return "s", self.left[sku]
        self.stream.append((member, key, sku, quantity))
        self.answers[member, key] = len(self.stream) - 1
        self.held[sku, member] += quantity
        self.left[sku] -= quantity
        return "+", self.answers[member, key]

    def release(self, order, member, sku, quantity):
        if order in self.returned:
            return 0
        if self.closed:
            return -2
        self.returned.add(order)
        self.held[sku, member] -= quantity
        self.left[sku] += quantity
        self.back[sku] += quantity
        self.freed += quantity
        return 1

    def look(self, skus):
        """Whether it sells, units that came back, keys, transfers, and each SKU's shelf."""
        shelves = [(self.left.get(sku), self.limits.get(sku)) for sku in skus]
        return self.open, self.freed, len(self.answers), len(self.transfers), shelves

    def debit(self, transfer, sku, units_max):
        if transfer in self.transfers:
            return self.transfers[transfer]
        if self.closed:
            return 0
        units = self.transfers[transfer] = min(self.left[sku], units_max)
        self.left[sku] -= units
        self.transferred[sku] -= units
        return units

    def credit(self, transfer, sku, units):
        if transfer in self.transfers:
            return 0
        self.transfers[transfer] = units
        self.left[sku] += units
        self.transferred[sku] += units
        self.freed += units
        return 1
