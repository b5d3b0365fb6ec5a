from collections.abc import Mapping
from datetime import datetime

from core.kit.db import Conn
from core.kit.states import IllegalMove, check_move

from . import rules, store
from .model import (
    Case,
    CaseId,
    Condition,
    Kind,
    NoSuchCase,
    Sold,
    Step,
    TooManyCases,
    Wish,
    WrongKind,
)
from .states import MOVES, State

# Of an order, whatever becomes of them: each leaves two events in a log that fits one answer.
CASES_MAX = 200


async def ask(
    conn: Conn, sold: Sold, wish: Wish, *, key: str, days: Mapping[str, int], now: datetime
) -> Case:
    """Open a case. The caller sees to it that no other is opened for the order meanwhile.

    Raises TooManyCases, NotShipped, TooLate, MoreThanWasPaid.
    """
    cases = await of_order(conn, order_id=sold.order_id)
    if len(cases) >= CASES_MAX:
        raise TooManyCases(cases_max=CASES_MAX)
    rules.insist_on(wish, sold, cases, days=days, now=now)
    case_id = await store.ask(conn, sold, wish, key)
    if case_id is None:
        raise IllegalMove("The same was asked at this moment.", source="", target=State.ASKED.value)
    return await find(conn, case_id=case_id)


async def find(conn: Conn, *, case_id: CaseId) -> Case:
    case = await store.find(conn, case_id)
    if case is None:
        raise NoSuchCase(case_id=str(case_id))
    return case


async def find_by_key(conn: Conn, *, order_id: str, key: str) -> Case | None:
    return await store.find_by_key(conn, order_id, key)


async def of_order(conn: Conn, *, order_id: str) -> list[Case]:
    """Oldest first."""
    return await store.of_order(conn, order_id, CASES_MAX)


async def listing(
    conn: Conn, *, state: State | None, before: CaseId | None, page_max: int
) -> list[Case]:
    """Newest first, in one state or in all."""
    return await store.listing(conn, [state] if state else list(State), before, page_max)


async def agree(conn: Conn, case: Case, *, answer: str) -> Case:
    """The goods may come back. A claim is agreed to by its refund."""
    if case.kind == Kind.CLAIM:
        raise WrongKind(kind=case.kind)
    return await _move(conn, case, State.AGREED, Step(answer=answer))


async def refuse(conn: Conn, case: Case, *, answer: str) -> Case:
    return await _move(conn, case, State.REFUSED, Step(answer=answer))


async def withdraw(conn: Conn, case: Case) -> Case:
    return await _move(conn, case, State.WITHDRAWN, Step())


async def send_back(conn: Conn, case: Case, *, carrier: str, tracking: str) -> Case:
    """Its buyer has sent the goods."""
    return await _move(conn, case, State.ON_ITS_WAY, Step(carrier=carrier, tracking=tracking))


async def receive(conn: Conn, case: Case, *, place_id: int, condition: Condition) -> Case:
    """The goods are there, and somebody has looked at them."""
    return await _move(conn, case, State.RECEIVED, Step(place_id=place_id, condition=condition))


async def refund(conn: Conn, case: Case, *, refund_id: str | None, amount_minor: int) -> Case:
    """So much is owed for it, also for an exchange of which there are no other units.

    None where it is nothing. Raises WrongKind for a case that ends otherwise, or not yet.
    """
    is_claim = case.kind == Kind.CLAIM
    if is_claim != (case.state == State.ASKED):
        raise WrongKind(kind=case.kind, state=case.state)
    step = Step(refund_id=refund_id, refunded_minor=amount_minor)
    return await _move(conn, case, State.REFUNDED, step)


async def replace(conn: Conn, case: Case, *, follow_up: str) -> Case:
    """Another order sends its units anew. Raises WrongKind."""
    if case.kind != Kind.EXCHANGE:
        raise WrongKind(kind=case.kind, state=case.state)
    return await _move(conn, case, State.REPLACED, Step(follow_up=follow_up))


async def _move(conn: Conn, case: Case, target: State, step: Step) -> Case:
    check_move(MOVES, State(case.state), target)
    if not await store.move(conn, case, target, step, is_end=not MOVES[target]):
        raise IllegalMove(
            "The case moved while we were looking.", source=case.state, target=target.value
        )
    return await find(conn, case_id=case.id)
