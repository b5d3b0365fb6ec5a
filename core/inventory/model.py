from core.kit.refusal import Kind, Refusal


class OutOfStock(Refusal):
    """There is not that much on hand."""

    kind = Kind.CONFLICT
