"""A claim has to pass risk before Redis hears of it, except where it is a repeat.

Whoever has a 202 gets it again for ever, whatever any rule says by now. The table knows what it
has let through; where it may have forgotten, Redis says whether the key was answered.
"""

from core import risk, sales
from core.flows.directory import Directory
from hotpath.claims import Claim
from hotpath.gate import Gate
from hotpath.recall import Recall, TooManyAsk
from hotpath.risk import Risk


async def pass_risk(
    table: Risk,
    gate: Gate,
    directory: Directory,
    recall: Recall,
    *,
    claim: Claim,
    origin: risk.Origin,
    now_s: float,
) -> bool:
    """Whether this host never let the key through before.

    Raises risk.RiskBlocked; sales.Unavailable and Busy while nobody can tell a repeat.
    """
    told = risk.judge(table, origin=origin, member_id=claim.member_id, key=claim.key, now_s=now_s)
    if told.refusal and not await may_be_repeat(table, gate, directory, recall, claim):
        raise told.refusal
    return told.is_new


async def may_be_repeat(
    table: Risk, gate: Gate, directory: Directory, recall: Recall, claim: Claim
) -> bool:
    bucket = directory.bucket(claim.sale_id, claim.member_id)
    if bucket is None:
        # Redis knows nothing of this sale: Postgres repeats its answers, and nothing is sold.
        return True
    key_hash = table.hash_key(claim.key.encode())
    if directory.is_remembered(table, claim.sale_id, claim.member_id, key_hash):
        return False
    if bucket.fence_reason is not None:
        raise sales.SaleFenced(retry_after_s=5)
    reached = gate.process_of(bucket.number)
    if reached is None or reached != bucket.run_id:
        raise sales.Unavailable
    try:
        found = await recall.ask(bucket.number, member_id=claim.member_id, key=claim.key)
    except TooManyAsk:
        raise sales.Busy from None
    if found.stamp != bucket.stamp:
        raise sales.Unavailable
    return found.answered
