"""A fresh demo member for whoever opens the sale page. In development only."""

import secrets
import time

import msgspec
from litestar import Router, post
from litestar.di import NamedDependency

from api import auth
from api.problems import NoSuchPage, refuses
from core import members
from core.kit import db
from core.settings import Settings

# Far above the members that `sluice token` makes, and inside what JavaScript can count.
FIRST_ID = 10**12
LAST_ID = 2**53
TOKEN_TTL_S = 24 * 60 * 60


class Session(msgspec.Struct, frozen=True):
    member_id: str
    token: str


@post("/demo/sessions", responses=refuses(NoSuchPage))
async def begin(pool: NamedDependency[db.Pool], settings: NamedDependency[Settings]) -> Session:
    """Make a demo member and sign it in. Not there in production."""
    if settings.env != "development":
        raise NoSuchPage
    member_id = FIRST_ID + secrets.randbelow(LAST_ID - FIRST_ID)
    async with db.transaction(pool) as conn:
        await members.enrol_demo(conn, first=member_id, count=1)
    token = auth.issue(
        settings.token_secret,
        subject=str(member_id),
        role="member",
        now_s=int(time.time()),
        ttl_s=TOKEN_TTL_S,
    )
    return Session(str(member_id), token)


routes = Router("/v1", route_handlers=[begin], tags=["demo"])
