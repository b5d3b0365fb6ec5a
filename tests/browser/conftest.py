"""Chromium as Debian packages it, and one `sluice dev` for all of them."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from core import embedded
from tests.browser.shop import Shop
from tests.browser.visitor import Visitor

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def browser():
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("there is no chromium: apt-get install chromium fonts-noto-cjk", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shop(tmp_path_factory, browser):
    shop = Shop(tmp_path_factory.mktemp("shop") / "home", embedded.free_port())
    try:
        shop.start()
        shop.sign_in()
        yield shop
    finally:
        shop.stop()


@pytest.fixture
def visit(browser, shop):
    """Make visitors. None may leave with an error on the console."""
    visitors = []

    def visit(**context) -> Visitor:
        visitors.append(Visitor(browser, shop, **context))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.leave()
