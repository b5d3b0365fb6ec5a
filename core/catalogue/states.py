from enum import StrEnum


class State(StrEnum):
    DRAFT = "draft"
    PUBLISHED = "published"
    WITHDRAWN = "withdrawn"
    ARCHIVED = "archived"


class SkuState(StrEnum):
    DRAFT = "draft"
    ON_SALE = "on_sale"
    WITHDRAWN = "withdrawn"


MOVES: dict[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.PUBLISHED, State.ARCHIVED}),
    State.PUBLISHED: frozenset({State.WITHDRAWN}),
    State.WITHDRAWN: frozenset({State.PUBLISHED, State.ARCHIVED}),
    State.ARCHIVED: frozenset(),
}

SKU_MOVES: dict[SkuState, frozenset[SkuState]] = {
    SkuState.DRAFT: frozenset({SkuState.ON_SALE}),
    SkuState.ON_SALE: frozenset({SkuState.WITHDRAWN}),
    SkuState.WITHDRAWN: frozenset({SkuState.ON_SALE}),
}
