"""The pages in everybody's hands: small screens, keyboards, readers, dark rooms, slow lines."""

from pathlib import Path

import pytest
from playwright.sync_api import Error, expect

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
CONTRAST_MIN = 4.5
# Below this Web Vitals calls a layout stable; which fonts a machine has moves it a little.
SHIFT_MAX = 0.1


@pytest.fixture(scope="package")
def sale_id(shop):
    return shop.open_sale("A quiet evening")


def check(visitor, name: str):
    """What one function of checks.js finds on the page. Debugging is above the page's policy."""
    return visitor.page.evaluate(f"() => {{ {CHECKS}\nreturn {name}(); }}")


def each_page(visitor, sale_id: str):
    """Every page of the journey, with an order whose receipt is open, and with a notice."""
    visitor.open(sale_id)
    visitor.buy()
    visitor.order.locator("summary").click()
    yield "sale"
    visitor.context.set_offline(True)
    expect(visitor.page.locator("#connection .notice")).to_be_visible()
    yield "sale, offline"
    visitor.context.set_offline(False)
    visitor.goes_to_pay()
    address = visitor.page.url
    yield "to pay"
    visitor.page.locator("button[value=pay]").click()
    visitor.is_back()
    visitor.sees_order("paid")
    yield "paid"
    visitor.page.goto(address)
    yield "paid already"


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_nothing_is_wider_than_a_phone(visit, sale_id, locale):
    visitor = visit(locale=locale, **PHONE)
    visitor.may_lose_answers = True
    for where in each_page(visitor, sale_id):
        assert check(visitor, "overflow") == [], where
        assert check(visitor, "smallTargets") == [], where


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_stands_out_and_every_control_has_a_name(visit, sale_id, scheme):
    visitor = visit(color_scheme=scheme)
    visitor.may_lose_answers = True
    for where in each_page(visitor, sale_id):
        pale = [found for found in check(visitor, "contrasts") if found["ratio"] < CONTRAST_MIN]
        assert pale == [], where
        assert check(visitor, "nameless") == [], where
        assert check(visitor, "faults") == [], where


def test_what_changes_is_told_to_those_who_do_not_see_it(visit, sale_id):
    visitor = visit().open(sale_id)
    visitor.buy()
    page = visitor.page
    for selector, role in {
        "#sale-state": "status", "#connection": "status", "#notice": "alert",
        ".order-state": "status", "#countdown": "timer",
    }.items():  # fmt: skip
        expect(page.locator(selector).first).to_have_role(role)
    # Read out every second it would be noise.
    expect(page.locator("#countdown")).to_have_attribute("aria-live", "off")
    expect(visitor.buy_button).to_have_accessible_name("Buy: " + what_is_sold(visitor))
    expect(page.locator(".shelf").first).to_have_accessible_name(what_is_sold(visitor))
    expect(page.locator("[data-language=en]")).to_have_attribute("aria-pressed", "true")


def what_is_sold(visitor) -> str:
    return f"{visitor.shop.product['title']}, L · Black"


def test_a_keyboard_alone_is_enough_to_buy_and_to_pay(visit, sale_id):
    visitor = visit().open(sale_id)
    page = visitor.page
    press_tab_until(visitor, visitor.buy_button)
    page.keyboard.press("Enter")
    visitor.sees_order("pending_payment")
    pay = visitor.order.locator(".pay")
    press_tab_until(visitor, pay)
    for _ in range(2):
        with page.expect_response("**/v1/orders/**"):
            pass
    expect(pay).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/pay/**")
    press_tab_until(visitor, page.locator("button[value=pay]"))
    page.keyboard.press("Space")
    visitor.is_back()
    visitor.sees_order("paid")


def press_tab_until(visitor, wanted) -> None:
    """Every stop on the way has to show that it is one."""
    for _ in range(20):
        visitor.page.keyboard.press("Tab")
        assert check(visitor, "focusRing") >= 2
        if wanted.evaluate("node => node === document.activeElement"):
            return
    raise AssertionError("the keyboard does not get there")


def test_who_waits_on_the_button_buys_with_a_key_when_the_sale_opens(shop, visit):
    sale_id = shop.plan("At the stroke")
    visitor = visit().open(sale_id)
    visitor.cannot_buy("Not yet")
    visitor.buy_button.focus()
    visitor.page.keyboard.press("Enter")
    shop.tell(sale_id, "arm")
    expect(visitor.buy_button).to_be_enabled()
    expect(visitor.buy_button).to_be_focused()
    visitor.page.keyboard.press("Enter")
    visitor.sees_order("pending_payment")
    assert shop.sold(sale_id) == 1


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desk", "phone"])
def test_nothing_jumps_while_the_page_loads(visit, sale_id, device):
    visitor = visit(**device).open(sale_id)
    visitor.sees_state("Open now")
    assert check(visitor, "shift") < SHIFT_MAX


def test_the_pages_allow_no_script_but_their_own(visit, sale_id):
    visitor = visit().open(sale_id)
    with pytest.raises(Error):
        visitor.page.add_script_tag(content="window.foreign = 1")
    assert visitor.page.evaluate("window.foreign") is None
    (violation,) = visitor.complaints
    assert "Content Security Policy" in violation
    visitor.complaints.clear()


def test_both_languages_say_everything(visit, sale_id):
    visitor = visit().open(sale_id)
    english, chinese = check(visitor, "textNames")
    assert english == chinese
    assert len(english) > 50
