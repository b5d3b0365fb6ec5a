"""Ask for a return, an exchange or money back, and follow what comes of it."""

from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api import auth, wiring
from api.cases import Case, Cases, case_of, shown
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import server_time
from core import aftersale, fulfilment, orders, sales
from core.flows import after_sale
from core.kit import db
from core.kit.states import IllegalMove
from core.settings import Settings
from hotpath.claims import QUANTITY_MAX
from hotpath.ids import is_id

LINES_MAX = 1_000
AMOUNT_MAX = 2**53
TEXT = r"\A[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*\Z"

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000, pattern=TEXT)]
Name = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]([ -~]{0,62}[!-~])?\Z")]


class NewCase(Body, frozen=True):
    """A claim, and nothing else, names the `amount` that is wanted back, in minor units."""

    line_no: Annotated[int, msgspec.Meta(ge=1, le=LINES_MAX)]
    kind: aftersale.Kind
    quantity: Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
    reason: Reason
    amount: Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)] = 0


class ParcelBack(Body, frozen=True):
    carrier: Name
    tracking: Name


@post(
    "",
    responses=refuses(
        *auth.SIGNED_IN,
        auth.MalformedKey,
        *READS_BODY,
        orders.NoSuchOrder,
        aftersale.NoSuchLine,
        aftersale.NotShipped,
        aftersale.TooLate,
        aftersale.MoreThanWasPaid,
        aftersale.TooManyCases,
        sales.KeyReused,
        IllegalMove,
    ),
)
async def ask(
    order_id: FromPath[str],
    data: JSONBody[NewCase],
    member_id: NamedDependency[int],
    idempotency_key: NamedDependency[str],
    pool: NamedDependency[db.Pool],
    settings: NamedDependency[Settings],
) -> Case:
    """Say that something is wrong with units of a line that were sent, and what is wanted."""
    if (data.kind is aftersale.Kind.CLAIM) != (data.amount > 0):
        raise InvalidValue("A claim, and nothing else, names an amount.")
    wish = aftersale.Wish(data.line_no, data.kind, data.quantity, data.amount, data.reason)
    case = await after_sale.ask(
        pool,
        order_id=order_of(order_id),
        member_id=member_id,
        wish=wish,
        key=idempotency_key,
        days=wiring.after_sale_days(settings),
        now=server_time(),
    )
    return shown(case)


@get("", responses=refuses(*auth.SIGNED_IN, orders.NoSuchOrder))
async def list_all(
    order_id: FromPath[str], member_id: NamedDependency[int], pool: NamedDependency[db.Pool]
) -> Cases:
    """List what was asked about an order, oldest first."""
    async with db.snapshot(pool) as conn:
        order = await after_sale.owned(conn, order_of(order_id), member_id)
        return Cases([shown(one) for one in await aftersale.of_order(conn, order_id=order.id)])


@get(
    "/{case_id:str}",
    responses=refuses(*auth.SIGNED_IN, orders.NoSuchOrder, aftersale.NoSuchCase),
)
async def find(
    order_id: FromPath[str],
    case_id: FromPath[str],
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
) -> Case:
    async with db.snapshot(pool) as conn:
        order = await after_sale.owned(conn, order_of(order_id), member_id)
        return shown(await after_sale.of(conn, order, case_of(case_id)))


@post(
    "/{case_id:str}/send",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        orders.NoSuchOrder,
        aftersale.NoSuchCase,
        IllegalMove,
    ),
)
async def send(
    order_id: FromPath[str],
    case_id: FromPath[str],
    data: JSONBody[ParcelBack],
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
) -> Case:
    """Say how the goods come back, once the shop has agreed."""
    case = await after_sale.send_back(
        pool,
        order_id=order_of(order_id),
        member_id=member_id,
        case_id=case_of(case_id),
        parcel=fulfilment.Parcel(data.carrier, data.tracking),
    )
    return shown(case)


@post(
    "/{case_id:str}/withdraw",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, orders.NoSuchOrder, aftersale.NoSuchCase, IllegalMove),
)
async def withdraw(
    order_id: FromPath[str],
    case_id: FromPath[str],
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
) -> Case:
    """Ask for nothing any more. Goods that are on their way cannot be called back."""
    case = await after_sale.withdraw(
        pool, order_id=order_of(order_id), member_id=member_id, case_id=case_of(case_id)
    )
    return shown(case)


def order_of(text: str) -> orders.OrderId:
    if not is_id(text):
        raise orders.NoSuchOrder(order_id=text)
    return orders.OrderId(text)


routes = Router(
    "/v1/orders/{order_id:str}/cases",
    route_handlers=[ask, list_all, find, send, withdraw],
    guards=[auth.needs_member],
    security=auth.SECURITY,
    tags=["after-sale"],
)
