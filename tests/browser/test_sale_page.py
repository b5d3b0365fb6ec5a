"""A real browser before the real shop: look, buy, pay, and everything that can come between."""

import re

import pytest
from playwright.sync_api import expect

LOOK_AGAIN_MS_MAX = 6_000
SKEWED_BY_2_H = "const real = Date.now.bind(Date); Date.now = () => real() + 7_200_000;"
LANGUAGES = {
    "en-US": {
        "lang": "en", "state": "Open now", "left": "100 left", "buy": "Buy", "ends": "Ends in",
        "pay": "Pay ¥99.00", "pay_lang": "en", "paid": "Paid", "limit": "5 per person",
        "variant": "L · Black",
    },
    "zh-CN": {
        "lang": "zh-CN", "state": "抢购中", "left": "剩余 100 件", "buy": "立即抢购",
        "ends": "距结束", "pay": "去支付 ¥99.00", "pay_lang": "zh-Hans", "paid": "已支付",
        "limit": "每人限购 5 件", "variant": "L · 黑色",
    },
}  # fmt: skip
OTHER = {"en-US": "zh-CN", "zh-CN": "en-US"}


def speaks(visitor, words) -> None:
    page = visitor.page
    expect(page.locator("html")).to_have_attribute("lang", words["lang"])
    visitor.sees_state(words["state"])
    visitor.sees_left(words["left"])
    expect(visitor.buy_button).to_have_text(words["buy"])
    expect(page.locator(".price").first).to_have_text("¥99.00")
    expect(page.locator(".limit").first).to_have_text(words["limit"])
    expect(page.locator(".variant").first).to_have_text(words["variant"])
    expect(page.locator("#countdown-label")).to_have_text(words["ends"])
    expect(page.locator("#countdown strong")).to_have_text(
        ["00", "00", re.compile("59|58"), re.compile(r"[0-5]\d")]
    )


@pytest.mark.parametrize("locale", LANGUAGES)
def test_the_front_page_tells_of_the_sale_in_the_language_of_the_browser_or_the_switch(
    shop, visit, locale
):
    shop.open_sale("An evening for two languages")
    visitor = visit(locale=locale).open()
    expect(visitor.page.locator("h1")).to_have_text("An evening for two languages")
    speaks(visitor, LANGUAGES[locale])
    assert visitor.page.locator(".picture").first.evaluate("image => image.naturalWidth > 0")
    chosen = LANGUAGES[OTHER[locale]]
    visitor.page.locator(f"[data-language={chosen['lang'][:2]}]").click()
    speaks(visitor, chosen)
    visitor.page.reload()
    speaks(visitor, chosen)


def test_a_double_click_is_one_order_with_a_receipt_that_we_signed(shop, visit):
    sale_id = shop.open_sale()
    visitor = visit().open(sale_id)
    visitor.buy_button.dblclick()
    visitor.sees_order("pending_payment")
    expect(visitor.page.locator(".order")).to_have_count(1)
    expect(visitor.page.locator("#orders")).to_be_focused()
    expect(visitor.order.locator("h3")).to_have_text(shop.product["title"])
    expect(visitor.order.locator(".order-hint")).to_have_text(
        re.compile(r"Held for you for another 1[45]:\d\d\.|Held for you for another 15:00\.")
    )
    visitor.sees_left("99 left")
    assert shop.sold(sale_id) == 1
    visitor.order.locator("summary").click()
    verified = shop.run("receipt", "verify", visitor.order.locator(".receipt").inner_text())
    assert verified.returncode == 0
    assert visitor.order.locator(".order-id").inner_text() in verified.stdout


@pytest.mark.parametrize("locale", LANGUAGES)
def test_who_pays_comes_back_to_an_order_that_is_paid(shop, visit, locale):
    words = LANGUAGES[locale]
    sale_id = shop.open_sale()
    visitor = visit(locale=locale).open(sale_id)
    expect(visitor.buy().locator(".pay")).to_have_text(words["pay"])
    visitor.goes_to_pay()
    page = visitor.page
    expect(page.locator("html")).to_have_attribute("lang", words["pay_lang"])
    expect(page.locator("h1")).to_have_text("¥99.00 CNY")
    page.locator("button[value=pay]").click()
    visitor.is_back()
    visitor.sees_order("paid")
    expect(visitor.order.locator(".order-state")).to_have_text(words["paid"])
    expect(visitor.order.locator("button:visible")).to_have_count(0)
    expect(page).to_have_url(f"{shop.url}/")
    expect(page.locator(".left").first).to_have_text(words["left"].replace("100", "99"))
    assert shop.sold(sale_id) == 1


def test_a_buyer_chooses_to_pay_by_alipay(shop, visit):
    sale_id = shop.open_sale()
    visitor = visit(locale="zh-CN").open(sale_id)
    choice = visitor.buy().locator(".channel")
    expect(choice).to_have_value("sandbox")
    expect(choice.locator("option")).to_have_text(["支付宝", "PayPal", "沙箱支付"])
    choice.select_option("alipay")
    page = visitor.page
    visitor.order.locator(".pay").click()
    page.wait_for_url("**/cashier/**")
    expect(page.locator("header span")).to_contain_text("支付宝")
    page.locator("button[value=pay]").click()
    visitor.is_back()
    visitor.sees_order("paid")
    expect(page).to_have_url(f"{shop.url}/")
    assert shop.sold(sale_id) == 1


def test_the_pay_page_is_in_the_language_that_was_chosen_in_the_shop(shop, visit):
    visitor = visit(locale="en-US").open(shop.open_sale())
    visitor.page.locator("[data-language=zh]").click()
    visitor.buy()
    visitor.goes_to_pay()
    expect(visitor.page.locator("html")).to_have_attribute("lang", "zh-Hans")
    visitor.page.get_by_role("link", name="English").click()
    expect(visitor.page.locator("html")).to_have_attribute("lang", "en")


def test_who_declines_may_pay_later(shop, visit):
    visitor = visit().open(shop.open_sale())
    visitor.buy()
    visitor.goes_to_pay()
    visitor.page.get_by_role("button", name="Decline").click()
    visitor.is_back()
    visitor.sees_order("pending_payment")
    visitor.goes_to_pay()
    visitor.page.get_by_role("button", name="Pay").click()
    visitor.is_back()
    visitor.sees_order("paid")


def test_who_cancels_gives_back_what_was_held(shop, visit):
    visitor = visit().open(shop.open_sale(quota=1))
    visitor.buy()
    visitor.sees_left("Sold out")
    visitor.order.locator(".cancel").click()
    visitor.sees_order("cancelled")
    expect(visitor.order.locator(".order-hint")).to_have_text("You cancelled it.")
    visitor.sees_left("1 left")
    expect(visitor.buy_button).to_be_enabled()


def test_what_others_buy_is_seen_at_once_until_it_is_sold_out(shop, visit):
    sale_id = shop.open_sale(quota=3)
    english, chinese = visit().open(sale_id), visit(locale="zh-CN").open(sale_id)
    english.sees_left("3 left")
    shop.buy(sale_id, quantity=2)
    english.sees_left("1 left")
    chinese.sees_left("剩余 1 件")
    shop.buy(sale_id)
    english.sees_state("Sold out")
    english.cannot_buy("Sold out")
    chinese.sees_state("已售罄")
    chinese.cannot_buy("已售罄")


def test_who_wants_more_than_the_limit_is_told_why_not_until_the_notice_is_closed(shop, visit):
    sale_id = shop.open_sale(limit=1)
    visitor = visit(locale="zh-CN").open(sale_id)
    visitor.may_lose_answers = True
    visitor.buy()
    visitor.buy_button.click()
    notice = visitor.page.get_by_role("alert")
    expect(notice).to_have_text("超过每位会员的限购数量。")
    shop.buy(sale_id)
    visitor.sees_left("剩余 98 件")
    expect(notice).to_have_text("超过每位会员的限购数量。")
    notice.get_by_role("button", name="关闭").click()
    expect(notice).to_be_empty()
    expect(visitor.page.locator(".order")).to_have_count(1)


def test_a_sale_is_planned_paused_goes_on_and_is_over_before_the_eyes_of_the_visitor(shop, visit):
    sale_id = shop.plan("Stop and go", starts_in_s=1)
    visitor = visit().open(sale_id)
    visitor.sees_state("Planned")
    visitor.cannot_buy("Not yet")
    shop.tell(sale_id, "arm")
    visitor.sees_state("Open now")
    visitor.buy()
    shop.tell(sale_id, "pause")
    visitor.sees_state("Paused")
    visitor.cannot_buy("Paused")
    expect(visitor.page.locator("#sale-hint")).to_contain_text("paused")
    shop.tell(sale_id, "resume")
    visitor.sees_state("Open now")
    expect(visitor.buy_button).to_be_enabled()
    shop.tell(sale_id, "close")
    visitor.sees_state("It is over")
    visitor.cannot_buy("Over")
    expect(visitor.page.locator("#countdown")).to_be_hidden()
    expect(visitor.order.locator(".pay")).to_be_enabled()


def test_a_fenced_sale_says_that_no_order_is_lost(shop, visit):
    sale_id = shop.open_sale()
    visitor = visit()
    visitor.may_lose_answers = True

    def fence(route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('"open"', '"fenced"'))

    visitor.page.route(f"**/v1/sales/{sale_id}", fence)
    visitor.page.route("**/events", lambda route: route.abort())
    visitor.open(sale_id)
    visitor.sees_state("Paused for a check")
    visitor.cannot_buy("Paused")
    expect(visitor.page.locator("#sale-hint")).to_contain_text("no order is lost")


def test_a_sale_counts_down_by_the_time_of_the_server_and_opens_by_itself(shop, visit):
    visitor = visit()
    visitor.page.add_init_script(SKEWED_BY_2_H)
    sale_id = shop.plan("In a moment", starts_in_s=5)
    shop.tell(sale_id, "arm")
    visitor.open(sale_id)
    expect(visitor.page.locator("#countdown-label")).to_have_text("Starts in")
    figures = visitor.page.locator("#countdown strong")
    expect(figures).to_have_text(["00", "00", "00", re.compile("0[1-5]")])
    visitor.cannot_buy("Not yet")
    seconds = figures.last.inner_text()
    expect(figures.last).not_to_have_text(seconds)
    visitor.sees_state("Open now")
    expect(visitor.page.locator("#countdown-label")).to_have_text("Ends in")
    visitor.buy()
    assert shop.sold(sale_id) == 1


def test_a_shop_that_cannot_be_reached_is_waited_for(shop, visit):
    sale_id = shop.open_sale()
    visitor = visit()
    visitor.may_lose_answers = True
    visitor.page.clock.install()
    visitor.page.route("**/v1/**", lambda route: route.fulfill(status=503, body="{}"))
    visitor.page.goto(f"{shop.url}/?sale={sale_id}")
    offline = visitor.page.locator("#connection")
    expect(offline).to_have_text("The shop cannot be reached right now. We keep trying.")
    expect(visitor.page.locator("h1")).to_have_text("Looking for the sale…")
    visitor.page.unroute("**/v1/**")
    visitor.page.clock.fast_forward(LOOK_AGAIN_MS_MAX)
    visitor.sees_left("100 left")
    expect(offline).to_be_empty()


def test_a_stream_that_was_refused_is_opened_again(shop, visit):
    sale_id = shop.open_sale()
    visitor = visit()
    visitor.may_lose_answers = True
    visitor.page.clock.install()
    visitor.page.route("**/events", lambda route: route.fulfill(status=503, body="{}"))
    visitor.open(sale_id)
    offline = visitor.page.locator("#connection")
    expect(offline).to_contain_text("cannot be reached")
    visitor.page.unroute("**/events")
    visitor.page.clock.fast_forward(LOOK_AGAIN_MS_MAX)
    expect(offline).to_be_empty()
    shop.buy(sale_id)
    visitor.sees_left("99 left")


def test_a_click_without_network_becomes_one_order_when_it_is_back(shop, visit):
    sale_id = shop.open_sale()
    visitor = visit().open(sale_id)
    visitor.may_lose_answers = True
    visitor.context.set_offline(True)
    expect(visitor.page.locator("#connection")).to_contain_text("cannot be reached")
    visitor.buy_button.click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("asking again for you")
    visitor.context.set_offline(False)
    visitor.sees_order("pending_payment")
    expect(visitor.page.locator("#connection")).to_be_empty()
    expect(visitor.page.get_by_role("alert")).to_be_empty()
    visitor.sees_left("99 left")
    assert shop.sold(sale_id) == 1


def test_an_answer_that_got_lost_is_asked_for_with_the_same_key(shop, visit):
    sale_id = shop.open_sale()
    visitor = visit().open(sale_id)
    visitor.may_lose_answers = True
    keys = []

    def lose_the_first(route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.fetch()
        if len(keys) == 1:
            route.abort()
        else:
            route.continue_()

    visitor.page.route("**/orders", lose_the_first)
    visitor.buy()
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert shop.sold(sale_id) == 1


def test_a_sale_that_never_was_is_said_so(visit):
    visitor = visit()
    visitor.may_lose_answers = True
    visitor.open("123456789")
    expect(visitor.page.locator("#nothing")).to_have_text("There is no such sale.")
