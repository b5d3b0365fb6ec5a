from collections.abc import Mapping


def even_out(left: Mapping[int, int], wanted: Mapping[int, int]) -> list[tuple[int, int, int]]:
    """Which units of one SKU should go from which bucket to which: (source, target, units).

    `left` is what each bucket has, `wanted` what buyers wait for there. An empty bucket gets half
    of what the richest other one has, and the very last unit only where somebody waits for it.
    """
    stock, plan = dict(left), []
    for target in sorted(stock, key=lambda bucket: -wanted.get(bucket, 0)):
        want = wanted.get(target, 0)
        if stock[target] and stock[target] >= want:
            continue
        # Who just got what its buyers wait for is no source, or the last unit would never rest.
        others = [b for b in stock if b != target and stock[b] > wanted.get(b, 0)]
        spare = {b: stock[b] - wanted.get(b, 0) for b in others}
        source = max(spare, key=spare.__getitem__, default=None)
        if source is None:
            continue
        most = spare[source]
        units = max(most // 2, min(want - stock[target], most))
        if units:
            stock[source] -= units
            stock[target] += units
            plan.append((source, target, units))
    return plan
