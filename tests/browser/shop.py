"""The shop that the browser visits: a whole `sluice dev`, and what its staff and others do."""

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx

from tests.api.test_dev import Dev
from tests.patience import PATIENCE_S

PRICE = 9_900
LOOK_S = 0.1


class Shop(Dev):
    def sign_in(self) -> None:
        self.member = self._bearer("--members", "1")
        self.admin = self._bearer("--admin")
        (self.product,) = self.get("/v1/products?limit=1")["items"]
        self.sku_id = self.product["skus"][0]["sku_id"]

    def _bearer(self, *who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.run('token', *who).stdout.strip()}"}

    def get(self, path: str, headers: dict | None = None) -> dict:
        return (
            httpx.get(self.url + path, headers=headers, timeout=PATIENCE_S)
            .raise_for_status()
            .json()
        )

    def post(self, path: str, body: dict | None = None, headers: dict | None = None) -> dict:
        """As staff, unless `headers` say who asks."""
        answer = httpx.post(
            self.url + path, headers=headers or self.admin, json=body, timeout=PATIENCE_S
        )
        assert answer.is_success, answer.text
        return answer.json()

    def plan(self, name: str, *, quota: int = 100, limit: int = 5, starts_in_s: float = 0) -> str:
        starts_at = datetime.now(UTC) + timedelta(seconds=starts_in_s)
        item = {"sku_id": self.sku_id, "quota": quota, "price": PRICE, "limit": limit}
        planned = self.post(
            "/v1/admin/sales",
            {
                "name": name,
                "starts_at": starts_at.isoformat(),
                "ends_at": (starts_at + timedelta(hours=1)).isoformat(),
                "items": [item],
            },
        )
        return planned["sale_id"]

    def open_sale(self, name: str = "One evening", **facts: int) -> str:
        """Open a sale that starts now, and wait until the storefront tells of it."""
        sale_id = self.plan(name, **facts)
        self.tell(sale_id, "arm")
        self.until(lambda: self.get("/v1/sales")["items"][0]["sale_id"] == sale_id)
        self.until(lambda: self.get(f"/v1/sales/{sale_id}")["state"] == "open")
        return sale_id

    def tell(self, sale_id: str, verb: str) -> None:
        self.post(f"/v1/admin/sales/{sale_id}/{verb}")

    def buy(self, sale_id: str, quantity: int = 1) -> str:
        """Somebody else buys."""
        placed = self.post(
            f"/v1/sales/{sale_id}/orders",
            {"sku_id": self.sku_id, "quantity": quantity},
            {**self.member, "Idempotency-Key": uuid4().hex},
        )
        return placed["order_id"]

    def sold(self, sale_id: str) -> int:
        """What the audit counts as sold, once every claim is written down."""
        audit = {}

        def is_settled() -> bool:
            audit.update(self.get(f"/v1/admin/sales/{sale_id}/audit", self.admin))
            return audit["in_flight"] == 0

        self.until(is_settled)
        assert audit["drift"] == 0
        return audit["items"][0]["sold"]

    def until(self, holds) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, "the shop did not come to it"
            time.sleep(LOOK_S)
