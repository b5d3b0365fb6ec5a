from hotpath import address
from hotpath.risk import REVIEW, Risk, is_repeat, rule_of, verdict_of, version_of

from .model import Judgement, Origin, RiskBlocked

LISTED = {1: "denied-network", 2: "denied-member", 3: "denied-device"}


def judge(table: Risk, *, origin: Origin, member_id: int, key: str, now_s: float) -> Judgement:
    """Count a claim, or say which rule of which version stops it.

    Review lets through. A challenge stops, as long as nobody can put one to the buyer.
    """
    hi, lo = address.halves(origin.address)
    device = table.hash_key(origin.device.encode()) if origin.device else 0
    answer = table.decide(now_s, hi, lo, member_id, table.hash_key(key.encode()), device)
    if verdict_of(answer) > REVIEW:
        return Judgement(refusal(answer), is_new=False)
    return Judgement(None, is_new=not is_repeat(answer))


def refusal(answer: int) -> RiskBlocked:
    """What the kernel's answer means in words. Whoever has the same answer may keep this."""
    rule = rule_of(answer)
    return RiskBlocked(rule=LISTED.get(rule, str(rule)), version=str(version_of(answer)))
