"""Signed receipts: what an accepted claim can prove, with Redis and Postgres both away.

The text is `<payload>.<signature>` in base64url without padding; the payload is
`1,<key id>,<order id>,<sale>,<bucket>,<sku>,<quantity>,<member>,<epoch>,<position>`.
"""

import hmac
from base64 import urlsafe_b64decode
from collections.abc import Mapping

import msgspec

from hotpath.claims import Claim, Verdict
from hotpath.ids import OrderIds
from hotpath.signing import Signer, base64url

RECEIPT_MAX = 400


class Receipt(msgspec.Struct, frozen=True):
    key_id: int
    order_id: str
    sale_id: int
    bucket: int
    sku_id: int
    quantity: int
    member_id: int
    epoch: int
    position: str


class BadReceipt(Exception):
    """We never signed this text."""


class Keyring:
    """Secrets by number. The newest signs, all verify, and the first also makes the order ids.

    A repeated claim is signed by the key of the first time, so no key may go while a sale lives
    that used it; the first may never go.
    """

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        assert keys
        assert all(number > 0 and len(secret) >= 16 for number, secret in keys.items())  # noqa: PLR2004
        self.signers = {number: Signer(secret) for number, secret in keys.items()}
        self.newest = max(keys)
        self.order_ids = OrderIds(hmac.digest(keys[min(keys)], b"order-id", "sha256"))

    def sign(self, receipt: Receipt) -> str:
        """Sign with the key that the receipt names."""
        payload = (
            f"1,{receipt.key_id},{receipt.order_id},{receipt.sale_id},{receipt.bucket},"
            f"{receipt.sku_id},{receipt.quantity},{receipt.member_id},{receipt.epoch},"
            f"{receipt.position}"
        ).encode("ascii")
        signature = self.signers[receipt.key_id].sign(payload)
        return (base64url(payload) + b"." + base64url(signature)).decode("ascii")

    def seal(self, claim: Claim, verdict: Verdict) -> tuple[str, str]:
        """Return the order id and the signed receipt of an accepted claim."""
        order_id = self.order_ids.make(
            verdict.bucket, verdict.epoch, verdict.position, claim.member_id
        )
        receipt = Receipt(
            key_id=verdict.key_id,
            order_id=order_id,
            sale_id=claim.sale_id,
            bucket=verdict.bucket,
            sku_id=claim.sku_id,
            quantity=claim.quantity,
            member_id=claim.member_id,
            epoch=verdict.epoch,
            position=verdict.position,
        )
        return order_id, self.sign(receipt)

    def verify(self, text: str) -> Receipt:
        """Read a receipt, or raise BadReceipt."""
        if len(text) > RECEIPT_MAX or not text.isascii():
            raise BadReceipt
        try:
            receipt = _read(text.partition(".")[0])
            signed = self.sign(receipt)
        except (ValueError, KeyError):
            raise BadReceipt from None
        # Signing again compares every character, so no second spelling of a receipt exists.
        if not hmac.compare_digest(signed, text):
            raise BadReceipt
        return receipt


def _read(payload: str) -> Receipt:
    fields = urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode("ascii").split(",")
    _, key_id, order_id, sale, bucket, sku, quantity, member, epoch, position = fields
    return Receipt(
        int(key_id),
        order_id,
        int(sale),
        int(bucket),
        int(sku),
        int(quantity),
        int(member),
        int(epoch),
        position,
    )
