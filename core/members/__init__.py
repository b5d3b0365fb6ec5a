"""Members: who buys here.

Owns    schema `members`
"""

from .model import MemberId
from .service import enrol_demo

__all__ = ["MemberId", "enrol_demo"]
