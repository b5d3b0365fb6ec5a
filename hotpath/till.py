"""The till: all that the lane has to know to answer a claim. Made by the API, one a process."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from hotpath import answers
from hotpath.address import Proxies, halves
from hotpath.answers import Answer
from hotpath.claims import Claim, Kind, Verdict
from hotpath.gate import Done, Gate
from hotpath.receipts import Keyring
from hotpath.risk import Risk
from hotpath.tokens import Tokens

Language: TypeAlias = Literal["en", "zh"]
# An answer's encoding by the language that is asked for; None where the lane cannot answer.
Refuse: TypeAlias = Callable[[Claim, Verdict, Language], Answer | None]

# The same for what the risk table answered.
Block: TypeAlias = Callable[[Claim, int, Language], Answer | None]

LANGUAGES_MAX = 1_000
# What these say is in the verdict itself, so it is encoded once.
PLAIN = frozenset({Kind.KEY_REUSED, Kind.SOLD_OUT, Kind.BUSY, Kind.UNKNOWN})
PLAIN_MAX = 10_000


class Figures:
    """What was answered, in plain numbers, until `take` hands them over."""

    def __init__(self, latency_s: Sequence[float]) -> None:
        self._latency_s = latency_s
        self._begin()

    def _begin(self) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self.within = [0] * (len(self._latency_s) + 1)
        self.seconds = 0.0

    def add(self, answer: Answer, seconds: float) -> None:
        self.answers[answer.status, answer.verdict] += 1
        self.within[bisect_left(self._latency_s, seconds)] += 1
        self.seconds += seconds

    def take(self) -> tuple[Counter[tuple[int, str]], list[int], float]:
        """Answers by status and verdict, by latency, and the sum of their seconds: since last."""
        taken = self.answers, self.within, self.seconds
        self._begin()
        return taken


class Till:
    def __init__(
        self,
        gate: Gate,
        keyring: Keyring,
        tokens: Tokens,
        figures: Figures,
        risk: Risk,
        proxies: Proxies,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        device: Callable[[list[str]], str],
        language: Callable[[str], Language],
        refuse: Refuse,
        block: Block,
        unauthenticated: Mapping[Language, Answer],
    ) -> None:
        self.clock = clock
        self.figures = figures
        self.member = tokens.member
        self._gate = gate
        self._keyring = keyring
        self._risk = risk
        self._proxies = proxies
        self._now = now
        self._device = device
        self._language = language
        self._block = block
        self._refuse = refuse
        self._unauthenticated = unauthenticated
        self._languages: dict[bytes, Language] = {}
        self._plain: dict[tuple[Kind, int, Language], Answer | None] = {}
        self._defaults: list[tuple[bytes, bytes]] = []
        self._encoded_defaults = b""

    def claim(self, claim: Claim, done: Done, *, is_new: bool) -> None:
        self._gate.claim(claim, done, is_new=is_new)

    def judge(self, claim: Claim, peer: str, forwarded: bytes, device: bytes) -> int:
        """Return the risk table's answer, which has counted the claim unless it stops it."""
        hops = [forwarded.decode("ascii")] if forwarded else []
        address_hi, address_lo = halves(self._proxies.client(peer, hops))
        name = self._device([device.decode("ascii")]) if device else ""
        risk = self._risk
        key = risk.hash_key(claim.key.encode("ascii"))
        device_hash = risk.hash_key(name.encode("ascii")) if name else 0
        now_s = self._now()
        return risk.decide(now_s, address_hi, address_lo, claim.member_id, key, device_hash)

    def block(self, claim: Claim, told: int, accepted: bytes) -> Answer | None:
        """Put the risk table's answer into words."""
        return self._block(claim, told, self._choose(accepted))

    def answer(self, claim: Claim, verdict: Verdict, accepted: bytes) -> Answer | None:
        """Put a verdict into words; None where only the whole application can.

        `accepted` is the request's Accept-Language.
        """
        if verdict.kind is Kind.ACCEPTED:
            order_id, receipt = self._keyring.seal(claim, verdict)
            return answers.accepted(
                order_id=order_id,
                sale_id=claim.sale_id,
                sku_id=claim.sku_id,
                quantity=claim.quantity,
                receipt=receipt,
            )
        language = self._choose(accepted)
        if verdict.kind not in PLAIN:
            return self._refuse(claim, verdict, language)
        plain = (verdict.kind, verdict.left, language)
        if plain not in self._plain:
            if len(self._plain) >= PLAIN_MAX:
                self._plain.clear()
            self._plain[plain] = self._refuse(claim, verdict, language)
        return self._plain[plain]

    def unauthenticated(self, accepted: bytes) -> Answer:
        return self._unauthenticated[self._choose(accepted)]

    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Encode the server's own headers, which it replaces with each second's date."""
        if headers is not self._defaults:
            self._defaults = headers
            self._encoded_defaults = answers.encode_headers(headers)
        return self._encoded_defaults

    def _choose(self, accepted: bytes) -> Language:
        language = self._languages.get(accepted)
        if language is None:
            if len(self._languages) >= LANGUAGES_MAX:
                self._languages.clear()
            language = self._languages[accepted] = self._language(accepted.decode("latin-1"))
        return language
