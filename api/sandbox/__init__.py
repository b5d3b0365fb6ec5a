"""A payment provider to try things with: a second HTTP service that speaks like a real one.

It has a pay page, signed webhooks that come twice or late or out of order, refunds and a
statement. It knows the shop only by the addresses that a checkout names.
"""

from .app import create_sandbox

__all__ = ["create_sandbox"]
