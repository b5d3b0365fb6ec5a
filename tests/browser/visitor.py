"""A buyer before a real browser, and what the browser had to complain of."""

import re

from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.shop import Shop
from tests.patience import PATIENCE_S

WAIT_MS = 1_000 * PATIENCE_S
# What a browser writes when an answer is an error or does not come; only some tests want that.
LOST_ANSWER = "Failed to load resource"

expect.set_options(timeout=WAIT_MS)


class Visitor:
    """One browser context. `complaints` are errors on its console, CSP violations among them."""

    def __init__(self, browser: Browser, shop: Shop, **context) -> None:
        context = {"locale": "en-US", "viewport": {"width": 1280, "height": 900}} | context
        self.shop = shop
        self.context = browser.new_context(**context)
        self.context.set_default_timeout(WAIT_MS)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.may_lose_answers = False
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, sale_id: str | None = None) -> "Visitor":
        self.page.goto(self.shop.url + (f"/?sale={sale_id}" if sale_id else "/"))
        expect(self.page.locator("#offers")).to_have_attribute("aria-busy", "false")
        return self

    def buy(self) -> Locator:
        """Buy one, and wait until the order waits for its payment."""
        self.buy_button.click()
        self.sees_order("pending_payment")
        return self.order

    def sees_order(self, state: str) -> None:
        expect(self.order).to_have_attribute("data-state", state)

    def sees_left(self, words: str) -> None:
        expect(self.page.locator(".left").first).to_have_text(words)

    def sees_state(self, words: str) -> None:
        expect(self.page.locator("#sale-state")).to_have_text(words)

    def cannot_buy(self, words: str) -> None:
        expect(self.buy_button).to_have_text(words)
        expect(self.buy_button).to_be_disabled()

    def goes_to_pay(self) -> None:
        self.order.locator(".pay").click()
        self.page.wait_for_url(re.compile("/pay/"))

    def is_back(self) -> None:
        self.page.wait_for_url(f"{self.shop.url}/**")
        # An order is known before the sale is.
        expect(self.page.locator("#countdown-label")).not_to_be_empty()

    @property
    def buy_button(self) -> Locator:
        return self.page.locator(".buy").first

    @property
    def order(self) -> Locator:
        return self.page.locator(".order").first

    def leave(self) -> None:
        self.context.close()
        assert self.complaints == []

    def _hear(self, message) -> None:
        is_lost = self.may_lose_answers and LOST_ANSWER in message.text
        if message.type in {"error", "warning"} and not is_lost:
            self.complaints.append(message.text)
