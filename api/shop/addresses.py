"""Where a member's orders go, by the form that each country has for it."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api import auth
from api.problems import refuses
from api.requests import READS_BODY, Body
from core import countries, members
from core.kit import db, ids

Text = Annotated[str, msgspec.Meta(max_length=100)]


class NewAddress(Body, frozen=True):
    """`country` is of ISO 3166-1. Which other fields there are, `/v1/countries` says."""

    country: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{2}\Z")]
    recipient: Text
    line1: Text
    city: Text
    line2: Text = ""
    district: Text = ""
    region: Text = ""
    postcode: Text = ""
    phone: Text = ""
    tax_id: Text = ""


class Address(msgspec.Struct, frozen=True):
    address_id: str
    fields: dict[str, str]
    added_at: datetime


class Addresses(msgspec.Struct, frozen=True):
    """Oldest first."""

    items: list[Address]


class Field(msgspec.Struct, frozen=True):
    """`pattern` is empty, or a regular expression for the whole text."""

    name: str
    label: dict[str, str]
    required: bool
    pattern: str
    length_max: int


class Country(msgspec.Struct, frozen=True):
    """`tax_ppm` is in millionths of the price; `regions` are those with a rate of their own."""

    code: str
    name: dict[str, str]
    fields: list[Field]
    tax_ppm: int
    prices_include_tax: bool
    regions: dict[str, int]


class Countries(msgspec.Struct, frozen=True):
    """What goes for countries that are not listed stands in `others`."""

    items: list[Country]
    others: Country


@get("/countries", responses=refuses())
async def list_countries() -> Countries:
    """List what an address has in each country, and the tax that is taken there."""
    found = sorted(countries.COUNTRIES.values(), key=lambda one: one.code)
    return Countries([_form(one) for one in found], _form(countries.country("")))


@get(
    "/addresses",
    guards=[auth.needs_member],
    security=auth.SECURITY,
    responses=refuses(*auth.SIGNED_IN),
)
async def list_mine(member_id: NamedDependency[int], pool: NamedDependency[db.Pool]) -> Addresses:
    """List one's own addresses."""
    async with db.reading(pool) as conn:
        found = await members.addresses(conn, member_id=member_id)
    return Addresses([_shown(one) for one in found])


@post(
    "/addresses",
    guards=[auth.needs_member],
    security=auth.SECURITY,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        countries.UnfitAddress,
        members.TooManyAddresses,
    ),
)
async def add(
    data: JSONBody[NewAddress],
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
) -> Address:
    """Add an address."""
    fields = _fit(data)
    async with db.transaction(pool) as conn:
        return _shown(await members.add_address(conn, member_id=member_id, fields=fields))


@post(
    "/addresses/{address_id:str}",
    guards=[auth.needs_member],
    security=auth.SECURITY,
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        countries.UnfitAddress,
        members.NoSuchAddress,
    ),
)
async def change(
    address_id: FromPath[str],
    data: JSONBody[NewAddress],
    member_id: NamedDependency[int],
    pool: NamedDependency[db.Pool],
) -> Address:
    """Write an address anew. Orders that were placed go where they went."""
    fields, named = _fit(data), address_of(address_id)
    async with db.transaction(pool) as conn:
        return _shown(
            await members.change_address(conn, member_id=member_id, address_id=named, fields=fields)
        )


@post(
    "/addresses/{address_id:str}/remove",
    guards=[auth.needs_member],
    security=auth.SECURITY,
    status_code=204,
    responses=refuses(*auth.SIGNED_IN, members.NoSuchAddress),
)
async def remove(
    address_id: FromPath[str], member_id: NamedDependency[int], pool: NamedDependency[db.Pool]
) -> None:
    """Remove an address."""
    named = address_of(address_id)
    async with db.transaction(pool) as conn:
        await members.remove_address(conn, member_id=member_id, address_id=named)


def address_of(text: str) -> members.AddressId:
    address_id = ids.parse(text)
    if address_id is None:
        raise members.NoSuchAddress(address_id=text)
    return members.AddressId(address_id)


def _fit(said: NewAddress) -> dict[str, str]:
    fields = msgspec.structs.asdict(said)
    return countries.fit(fields.pop("country"), fields)


def _shown(address: members.Address) -> Address:
    return Address(str(address.id), address.fields, address.added_at)


def _form(country: countries.Country) -> Country:
    return Country(
        code=country.code,
        name=dict(country.name),
        fields=[
            Field(one.name, dict(one.label), one.is_required, one.pattern, one.length_max)
            for one in country.fields
        ],
        tax_ppm=country.tax.rate_ppm,
        prices_include_tax=country.tax.is_included,
        regions=dict(country.by_region),
    )


routes = Router(
    "/v1", route_handlers=[list_countries, list_mine, add, change, remove], tags=["checkout"]
)
