"""PayPal as we play it: a service of its own, with Orders v2, Payments v2 and signed webhooks.

It has an approval page, keeps its books, and can be down, slow, or talk nonsense. It knows the
shop only by what it is told: where its webhooks go, and where a buyer goes back to.
"""

from .app import create_paypal

__all__ = ["create_paypal"]
