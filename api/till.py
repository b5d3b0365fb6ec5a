"""What the lane needs to answer claims as this application would, and the way it gets it."""

import time
from typing import get_args

import msgspec
from litestar import Litestar
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api import auth, metrics, problems, texts
from core import risk, sales
from core.flows import place_order
from core.flows.directory import Directory
from core.kit.refusal import Refusal
from hotpath import answers
from hotpath.address import Proxies
from hotpath.answers import Answer
from hotpath.claims import Claim, Verdict
from hotpath.gate import Gate
from hotpath.receipts import Keyring
from hotpath.risk import Risk
from hotpath.till import Figures, Till
from hotpath.tokens import Tokens

BLOCKS_MAX = 1_000


def open_till(
    gate: Gate,
    keyring: Keyring,
    directory: Directory,
    table: Risk,
    proxies: Proxies,
    *,
    secret: str,
) -> Till:
    blocks: dict[tuple[int, texts.Language], Answer] = {}

    def refuse(claim: Claim, verdict: Verdict, language: texts.Language) -> Answer | None:
        if place_order.is_for_postgres(directory, claim, verdict):
            return None
        return encode(place_order.refusal(directory, claim, verdict), language)

    def block(
        sale_id: int, member_id: int, key_hash: int, told: int, language: texts.Language
    ) -> Answer | None:
        # Where the table may have forgotten a repeat, somebody has to ask Redis first.
        if not directory.is_remembered(table, sale_id, member_id, key_hash):
            return None
        if (told, language) not in blocks:
            if len(blocks) >= BLOCKS_MAX:
                blocks.clear()
            blocks[told, language] = encode(risk.refusal(told), language)
        return blocks[told, language]

    return Till(
        gate,
        keyring,
        Tokens(secret.encode(), clock=time.time),
        Figures(metrics.LATENCY_S),
        table,
        proxies,
        clock=time.perf_counter,
        now=time.time,
        language=texts.language,
        refuse=refuse,
        block=block,
        unauthenticated=in_each_language(auth.Unauthenticated()),
        sold_out=in_each_language(sales.SoldOut()),
    )


def in_each_language(refusal: Refusal) -> dict[texts.Language, Answer]:
    return {language: encode(refusal, language) for language in get_args(texts.Language)}


def encode(refusal: Refusal, language: texts.Language) -> Answer:
    """Encode a refusal as Litestar and uvicorn would, without the date."""
    told = problems.tell(refusal)
    return answers.encode(
        told.status,
        told.name,
        told.every_header(language),
        msgspec.json.encode(told.body(language)),
        media_type=problems.MEDIA_TYPE,
    )


def with_till(app: Litestar) -> ASGIApp:
    """Put the running application's till where ASGI lets a server's protocol look for it."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        async def started(message: Message) -> None:
            if str(message["type"]) == "lifespan.startup.complete":
                scope["state"]["till"] = app.state.till
            await send(message)

        await app(scope, receive, started if str(scope["type"]) == "lifespan" else send)

    return served
