"""Fulfilment: who sends what of a paid order, in which parcel, and how far it is.

Owns    schema `fulfilment`
States  see `states.MOVES`
Words   a consignment is what one place sends to one address for one seller: lines of orders, with
        their share of what was paid; a lead is how long an order took from its payment on
"""

from .model import (
    Consignment,
    ConsignmentId,
    ImpossibleMerge,
    ImpossibleSplit,
    Lead,
    LeadSummary,
    LeadTimes,
    Line,
    Loaded,
    NoSuchConsignment,
    PaidLine,
    PaidOrder,
    Parcel,
    Spot,
    Waiting,
)
from .rules import units_of
from .service import (
    MERGED_MAX,
    allocate,
    deliver,
    find,
    hold,
    is_planned,
    lead,
    lead_times,
    listing,
    merge,
    of_orders,
    plan,
    planned_units,
    ship,
    split,
    sum_up_leads,
    withdraw,
)
from .states import INSIDE, MOVES, State

__all__ = [
    "INSIDE",
    "MERGED_MAX",
    "MOVES",
    "Consignment",
    "ConsignmentId",
    "ImpossibleMerge",
    "ImpossibleSplit",
    "Lead",
    "LeadSummary",
    "LeadTimes",
    "Line",
    "Loaded",
    "NoSuchConsignment",
    "PaidLine",
    "PaidOrder",
    "Parcel",
    "Spot",
    "State",
    "Waiting",
    "allocate",
    "deliver",
    "find",
    "hold",
    "is_planned",
    "lead",
    "lead_times",
    "listing",
    "merge",
    "of_orders",
    "plan",
    "planned_units",
    "ship",
    "split",
    "sum_up_leads",
    "units_of",
    "withdraw",
]
