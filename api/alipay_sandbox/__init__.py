"""Plays Alipay: its gateway, a page where a buyer pays, and notifications that come until heard.

Written apart from the shop's client, with its own signing. It knows the shop only by the addresses
that a trade names, and by the app's public key.
"""

from .app import create_alipay
from .model import Merchant

__all__ = ["Merchant", "create_alipay"]
