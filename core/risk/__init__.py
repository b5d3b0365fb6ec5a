"""Risk: whose claims are not even tried, and by which rule.

Owns    nothing: what it counts is in `hotpath.risk`, in memory
Words   a rule is (subject, window, limit, verdict, id); an origin is where a claim comes from
"""

from .model import Judgement, Origin, RiskBlocked, UnreadableRule
from .rules import compile_program
from .service import judge, refusal

__all__ = [
    "Judgement",
    "Origin",
    "RiskBlocked",
    "UnreadableRule",
    "compile_program",
    "judge",
    "refusal",
]
