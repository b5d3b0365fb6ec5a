"""A life as a table of moves."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from core.kit.refusal import Kind, Refusal

State = TypeVar("State", bound=StrEnum)


class IllegalMove(Refusal):
    """It cannot go there from where it is."""

    kind = Kind.CONFLICT


def check_move(moves: Mapping[State, frozenset[State]], source: State, target: State) -> None:
    if target not in moves[source]:
        raise IllegalMove(
            f"From {source.value!r} there is no way to {target.value!r}.",
            source=source.value,
            target=target.value,
        )
