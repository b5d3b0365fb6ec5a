"""Buyers over real HTTP, who click twice with one key and repeat it until they have an answer."""

import asyncio
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from api.rehearsal.client import Client, NoAnswer
from tests.patience import PATIENCE_S

TRIES_MAX = 400
TRY_AGAIN = {429, 503}


@dataclass
class Ledger:
    """What buyers were told: every answer for a key, and how often something went wrong."""

    accepted: dict[tuple[int, str], set[bytes]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    troubles: int = 0
    server_errors: list[str] = field(default_factory=list)

    def orders(self) -> dict[str, int]:
        """Order id -> member."""
        return {
            json.loads(body)["order_id"]: member
            for (member, _), bodies in self.accepted.items()
            for body in bodies
        }


@dataclass(frozen=True)
class Buyer:
    member: int
    token: str
    key: str

    @property
    def address(self) -> str:
        """One of its own for every member, behind a trusted proxy."""
        return f"10.{self.member >> 16 & 255}.{self.member >> 8 & 255}.{self.member & 255}"

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.token}",
            "Idempotency-Key": self.key,
            "X-Forwarded-For": self.address,
        }


async def storm(
    url: str, sale_id: str, sku_id: str, buyers: Iterable[Buyer], *, at_once: int
) -> Ledger:
    """Let everybody click twice, `at_once` members at a time."""
    ledger = Ledger()
    turn = asyncio.Semaphore(at_once)
    async with Client(url, connections_max=2 * at_once) as http:

        async def click_twice(buyer: Buyer) -> None:
            async with turn:
                await asyncio.gather(*(click(http, ledger, sale_id, sku_id, buyer) for _ in "12"))

        await asyncio.gather(*(click_twice(buyer) for buyer in buyers))
    return ledger


async def click(http: Client, ledger: Ledger, sale_id: str, sku_id: str, buyer: Buyer) -> None:
    """Ask until it is decided. An unknown outcome is asked for with the same key."""
    path = f"/v1/sales/{sale_id}/orders"
    body = json.dumps({"sku_id": sku_id, "quantity": 1}).encode()
    for _ in range(TRIES_MAX):
        try:
            answer = await http.ask("POST", path, headers=buyer.headers, body=body)
        except NoAnswer:
            ledger.troubles += 1
            await asyncio.sleep(random.uniform(0.02, 0.2))
            continue
        if answer.status == 202:
            ledger.accepted.setdefault((buyer.member, buyer.key), set()).add(answer.body)
            return
        if answer.status in TRY_AGAIN:
            assert int(answer.headers[b"retry-after"]) >= 1
            ledger.troubles += 1
            await asyncio.sleep(random.uniform(0.05, 0.3))
            continue
        if answer.status >= 500:
            ledger.server_errors.append(answer.body.decode())
        slug = json.loads(answer.body)["type"].rpartition("/")[2]
        ledger.refused[slug] = ledger.refused.get(slug, 0) + 1
        return
    raise AssertionError(f"member {buyer.member} never got an answer")


async def states_of(url: str, ledger: Ledger, tokens: dict[int, str]) -> dict[str, str]:
    """Each order's state as its own buyer sees it, once none is merely accepted, or time is up."""
    states: dict[str, str] = {}
    waiting = ledger.orders()
    clock = asyncio.get_running_loop().time
    until = clock() + PATIENCE_S
    async with Client(url, connections_max=20) as http:
        while waiting and clock() < until:
            for order_id, member in list(waiting.items()):
                headers = {"Authorization": f"Bearer {tokens[member]}"}
                answer = await http.ask("GET", f"/v1/orders/{order_id}", headers=headers)
                states[order_id] = json.loads(answer.body).get("state", f"HTTP {answer.status}")
                if states[order_id] not in {"accepted", "HTTP 503"}:
                    del waiting[order_id]
            await asyncio.sleep(0.1)
    return states
