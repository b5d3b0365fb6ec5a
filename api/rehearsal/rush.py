"""The buyers at the counter: each asks, is told, and comes back when there is a reason to."""

import asyncio
from collections.abc import Iterator, Sequence
from time import monotonic

import msgspec

from api.rehearsal.client import Answer, Client, NoAnswer
from api.rehearsal.crowd import Buyer, Style
from api.rehearsal.score import ACCEPTED, NO_ANSWER, Accepted, Attempt, Score

ATTEMPTS_MAX = 20
RETRY_AFTER_S_MAX = 10.0
RETRY_S = 0.25
# A buyer who was at the door before the opening tries the handle this often.
KNOCK_S = 0.05
OPENING_S_MAX = 3.0
SERVER_ERROR = 500
ACCEPTED_STATUS = 202
AGAIN = frozenset({429, 503})


class Told(msgspec.Struct, frozen=True):
    """The part of a 202's body that we look into."""

    order_id: str
    sku_id: str
    quantity: int


class Problem(msgspec.Struct, frozen=True):
    type: str = ""


class Rush:
    """`opens_at` and `ends_at` are by `time.monotonic`; nobody begins after `ends_at`."""

    def __init__(
        self, client: Client, score: Score, *, sale_id: int, opens_at: float, ends_at: float
    ) -> None:
        self._client = client
        self._score = score
        self._path = f"/v1/sales/{sale_id}/orders"
        self._opens_at = opens_at
        self._ends_at = ends_at

    async def arrive(self, crowd: Sequence[Buyer]) -> None:
        """Open loop: everybody comes at their own time, whatever the shop is doing."""
        async with asyncio.TaskGroup() as group:
            for buyer in crowd:
                due = self._opens_at + buyer.arrives_s
                if due >= self._ends_at:
                    return
                await until(due)
                self._score.came += 1
                group.create_task(self._shop(buyer, due))

    async def queue(self, crowd: Sequence[Buyer], *, at_once: int) -> None:
        """Closed loop: so many at a time, the next one comes when one goes."""
        waiting = iter(crowd)
        await until(self._opens_at)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(crowd))):
                group.create_task(self._one_after_another(waiting))

    async def _one_after_another(self, waiting: Iterator[Buyer]) -> None:
        for buyer in waiting:
            now = monotonic()
            if now >= self._ends_at:
                return
            self._score.came += 1
            await self._shop(buyer, now)

    async def _shop(self, buyer: Buyer, due: float) -> None:
        clicks = 2 if buyer.style is Style.DOUBLE else 1
        await asyncio.gather(
            *(
                self._buy(buyer, key, click=click, due=due)
                for key in buyer.keys
                for click in range(clicks)
            )
        )

    async def _buy(self, buyer: Buyer, key: str, *, click: int, due: float) -> None:
        """Ask with one key until there is an answer that stands."""
        for number in range(ATTEMPTS_MAX):
            answer, sent_at = await self._ask(buyer, key)
            ended_at = monotonic()
            accepted = self._read_202(answer, buyer, key, ended_at)
            told = ACCEPTED if accepted else what_it_says(answer)
            self._score.note(
                Attempt(
                    buyer=buyer.number,
                    style=buyer.style,
                    key=key,
                    click=click,
                    number=number,
                    due_s=due - self._opens_at,
                    sent_s=sent_at - self._opens_at,
                    ended_s=ended_at - self._opens_at,
                    status=answer.status if answer else 0,
                    told=told,
                    order_id=accepted.order_id if accepted else "",
                )
            )
            again_at = self._comes_again_at(answer, told, ended_at)
            if again_at is None or again_at >= self._ends_at:
                return
            due = again_at
            await until(due)

    async def _ask(self, buyer: Buyer, key: str) -> tuple[Answer | None, float]:
        try:
            answer = await self._client.ask(
                "POST",
                self._path,
                headers={**who(buyer), "Idempotency-Key": key},
                body=msgspec.json.encode({"sku_id": str(buyer.sku_id), "quantity": 1}),
            )
        except NoAnswer as failed:
            return None, failed.sent_at
        return answer, answer.sent_at

    def _read_202(
        self, answer: Answer | None, buyer: Buyer, key: str, ended_at: float
    ) -> Accepted | None:
        if answer is None or answer.status != ACCEPTED_STATUS:
            return None
        try:
            told = msgspec.json.decode(answer.body, type=Told)
            sku_id = int(told.sku_id)
        except ValueError:
            return None
        accepted = Accepted(
            buyer=buyer,
            key=key,
            order_id=told.order_id,
            sku_id=sku_id,
            quantity=told.quantity,
            at_s=ended_at - self._opens_at,
            bodies={answer.body},
        )
        self._score.accept(accepted)
        return accepted

    def _comes_again_at(self, answer: Answer | None, told: str, now: float) -> float | None:
        """When to repeat with the same key; None when this answer stands."""
        if answer is None:
            return now + RETRY_S
        if told == "sale-not-open" and now < self._opens_at + OPENING_S_MAX:
            return max(self._opens_at, now + KNOCK_S)
        if answer.status in AGAIN:
            return now + retry_after_s(answer)
        return now + RETRY_S if answer.status >= SERVER_ERROR else None


def who(buyer: Buyer) -> dict[str, str]:
    return {"Authorization": f"Bearer {buyer.token}", "X-Forwarded-For": buyer.address}


def what_it_says(answer: Answer | None) -> str:
    """The problem's slug, or the bare status where there is none: of an unreadable 202, too."""
    if answer is None:
        return NO_ANSWER
    try:
        slug = msgspec.json.decode(answer.body, type=Problem).type.rpartition("/")[2]
    except msgspec.DecodeError:
        slug = ""
    return slug or f"status-{answer.status}"


def retry_after_s(answer: Answer) -> float:
    said = answer.headers.get(b"retry-after", b"")
    return min(float(said), RETRY_AFTER_S_MAX) if said.isdigit() else RETRY_S


async def until(moment: float) -> None:
    left = moment - monotonic()
    if left > 0:
        await asyncio.sleep(left)
