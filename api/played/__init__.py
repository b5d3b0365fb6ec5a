"""What the outside services that we play have in common: books, bad manners, and a courier.

Their books are one SQLite file each; what they tell the shop stands there until it is heard.
"""

from .courier import Courier, due_times_s
from .model import Behaviour, Notice, Seconds
from .store import behave, behaviour, connect, send, sent

__all__ = [
    "Behaviour",
    "Courier",
    "Notice",
    "Seconds",
    "behave",
    "behaviour",
    "connect",
    "due_times_s",
    "send",
    "sent",
]
