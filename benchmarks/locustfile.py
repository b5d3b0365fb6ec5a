"""A flash sale's evening for Locust: a spike, double clicks, retries, bots, and browsing around it.

    locust -f benchmarks/locustfile.py --headless --host http://127.0.0.1:8000 --sale 1

See README.md beside this file for the options and for how to read what it prints.
"""

import itertools
import json
import logging
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, LoadTestShape, between, constant, events, task
from locust.exception import StopUser

from api.rehearsal.crowd import address, poisson

BOT_ADDRESS = "203.0.113.99"
KEYS_PER_BOT = 5
BROWSERS = 5
RETRIES_MAX = 8
RETRY_AFTER_S_MAX = 10.0
SPIKE_AT_S = 3.0
RAMP_S = 2.0
SPIKE_CONNECTIONS_MAX = 500
STREAM_EVENTS_MAX = 5
# Refusals that a shop owes its buyers. Anything else below 500 would be a fault of this file.
LAWFUL = frozenset({"sold-out", "member-limit", "sale-not-open", "risk-blocked"})
AGAIN = frozenset({429, 503})

log = logging.getLogger("evening")


@events.init_command_line_parser.add_listener
def add_options(parser):
    options = parser.add_argument_group("sluice", "What the evening is about")
    options.add_argument("--sale", default="1", help="the sale to buy from")
    options.add_argument("--tokens", default="", help="file of member tokens, one a line")
    options.add_argument("--buyers", type=int, default=500, help="buyers in the spike")
    options.add_argument("--rate", type=float, default=200.0, help="their arrivals a second")
    options.add_argument("--double-clickers", type=int, default=50, help="buyers who click twice")
    options.add_argument("--retriers", type=int, default=50, help="buyers who do as told")
    options.add_argument("--bot-keys", type=int, default=300, help="keys from one address")
    options.add_argument("--seconds", type=float, default=20.0, help="the whole evening")
    options.add_argument("--seed", type=int, default=1, help="the same seed, the same arrivals")


class Evening:
    """What all users share: the sale's SKUs, tokens that are handed out once, and the findings."""

    def __init__(self, options):
        self.options = options
        self.random = Random(options.seed)
        self.told = Counter()
        self.orders = {}
        self.faults = []
        self._lock = threading.Lock()
        self._spike_at = time.monotonic() + SPIKE_AT_S
        tokens = read_tokens(options)
        if len(tokens) < members_needed(options):
            raise SystemExit(f"{len(tokens)} tokens for {members_needed(options)} members")
        self._members = enumerate(tokens)
        self.double_clicks = iter(range(options.double_clickers))
        self.retries = iter(range(options.retriers))

    def next_buyer(self):
        """A member of its own and an address of its own."""
        with self._lock:
            number, token = next(self._members, (None, None))
        if token is None:
            raise StopUser
        return {"Authorization": f"Bearer {token}", "X-Forwarded-For": address(number)}

    def await_spike(self):
        """Before it, only those who browse are about."""
        gevent.sleep(max(0.0, self._spike_at - time.monotonic()))

    def fault(self, what):
        self.faults.append(what)
        log.error(what)


def members_needed(options):
    bots = -(-options.bot_keys // KEYS_PER_BOT)
    return options.buyers + options.double_clickers + options.retriers + bots + BROWSERS


def read_tokens(options):
    """From --tokens, or from `sluice token`, which makes the members where they are missing."""
    if options.tokens:
        return Path(options.tokens).read_text(encoding="ascii").split()
    command = [sys.executable, "-m", "api.cli", "token", "--members", str(members_needed(options))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()


@events.test_start.add_listener
def open_the_evening(environment, **_):
    environment.evening = Evening(environment.parsed_options)


@events.test_stop.add_listener
def close_the_evening(environment, **_):
    evening = environment.evening
    shared = sum(len(owners) > 1 for owners in evening.orders.values())
    if shared:
        evening.fault(f"{shared} orders were given to two keys")
    print(f"\naccepted {len(evening.orders)} different orders; told: {dict(evening.told)}")
    print(f"faults: {len(evening.faults)}")
    for fault in evening.faults[:20]:
        print(f"  {fault}")


@events.quitting.add_listener
def fail_on_faults(environment, **_):
    evening = getattr(environment, "evening", None)
    if evening and (evening.faults or not evening.told):
        environment.process_exit_code = 1


class Shopper(FastHttpUser):
    """Asks for things under names that say what came of it, so that each has its own line."""

    abstract = True
    network_timeout = 10.0
    connection_timeout = 10.0

    def on_start(self):
        self.evening = self.environment.evening
        sale = self.client.get(f"/v1/sales/{self.sale_id}", name="sale").json()
        self.skus = [item["sku_id"] for item in sale["items"]]

    @property
    def sale_id(self):
        return self.evening.options.sale

    def buy(self, who, key, sku, *, scenario):
        """One attempt: status, body, Retry-After. Tells Locust by the name what came of it."""
        with self.client.post(
            f"/v1/sales/{self.sale_id}/orders",
            json={"sku_id": sku, "quantity": 1},
            headers={**who, "Idempotency-Key": key},
            name=f"{scenario}: no answer",
            catch_response=True,
        ) as response:
            told = what_it_says(response)
            response.request_meta["name"] = f"{scenario}: {told}"
            self.evening.told[told] += 1
            if response.status_code in {202, *AGAIN} or told in LAWFUL:
                response.success()
            else:
                response.failure(told)
                self.evening.fault(f"{scenario}: {told}")
            if response.status_code == 202:
                order_id = response.json()["order_id"]
                self.evening.orders.setdefault(order_id, set()).add((who["Authorization"], key))
            return response.status_code, response.content, response.headers.get("Retry-After")


def wait_as_told(retry_after):
    gevent.sleep(min(float(retry_after or 0.25), RETRY_AFTER_S_MAX))


def what_it_says(response):
    if response.status_code == 202:
        return "accepted"
    if not response.status_code:
        return "no answer"
    try:
        return json.loads(response.content)["type"].rpartition("/")[2]
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


class Spike(Shopper):
    """The crowd at the opening, as an open loop: arrivals do not wait for anybody's answer.

    One user plays them all. Locust's own users are a closed loop: when the shop is slow each of
    them asks less often, and a slow shop would look like a quiet evening.
    """

    fixed_count = 1
    concurrency = SPIKE_CONNECTIONS_MAX
    wait_time = constant(1)

    @task
    def arrive(self):
        options, pool = self.evening.options, Pool()
        times = poisson(self.evening.random, rate_per_s=options.rate, ramp_s=RAMP_S)
        self.evening.await_spike()
        began = time.monotonic()
        try:
            for number, due in enumerate(itertools.islice(times, options.buyers)):
                gevent.sleep(max(0.0, began + due - time.monotonic()))
                sku = self.skus[number % len(self.skus)]
                pool.spawn(self.buy, self.evening.next_buyer(), "spike", sku, scenario="spike")
            pool.join()
        finally:
            pool.kill()
        raise StopUser


class DoubleClicker(Shopper):
    """Two requests at once with one key. Where both are accepted, they are the same bytes."""

    fixed_count = 10
    wait_time = between(0.05, 0.5)

    @task
    def click_twice(self):
        self.evening.await_spike()
        if next(self.evening.double_clicks, None) is None:
            raise StopUser
        who, sku = self.evening.next_buyer(), self.evening.random.choice(self.skus)
        clicks = [
            gevent.spawn(self.buy, who, "twice", sku, scenario="double click") for _ in range(2)
        ]
        gevent.joinall(clicks)
        accepted = [click.value[1] for click in clicks if click.value and click.value[0] == 202]
        if len(set(accepted)) > 1:
            self.evening.fault("one key was told two different bodies")


class Retrier(Shopper):
    """Repeats with the same key after 429, 503 and no answer, when the shop says so."""

    fixed_count = 10
    wait_time = between(0.05, 0.5)

    @task
    def insist(self):
        self.evening.await_spike()
        if next(self.evening.retries, None) is None:
            raise StopUser
        who, sku = self.evening.next_buyer(), self.evening.random.choice(self.skus)
        for _ in range(RETRIES_MAX):
            status, body, retry_after = self.buy(who, "insist", sku, scenario="retry")
            if status == 202:
                self.stand_by(who, sku, body)
            if status and status not in AGAIN:
                return
            wait_as_told(retry_after)
        self.evening.fault(f"no answer that stands after {RETRIES_MAX} tries")

    def stand_by(self, who, sku, body):
        """A network that lost the answer makes buyers ask once more: the same, byte for byte."""
        status, again, _ = self.buy(who, "insist", sku, scenario="retry")
        if status == 202 and again != body:
            self.evening.fault("a repeated key was told another body")


class Bot(Shopper):
    """Hundreds of keys from one address. It gets its limit, and no more."""

    fixed_count = 1
    concurrency = 50
    wait_time = constant(1)

    @task
    def grab(self):
        self.evening.await_spike()
        pool = Pool(self.concurrency)
        keys, who = self.evening.options.bot_keys, None
        for number in range(keys):
            if number % KEYS_PER_BOT == 0:
                who = {**self.evening.next_buyer(), "X-Forwarded-For": BOT_ADDRESS}
            pool.spawn(self.buy, who, f"bot-{number}", self.skus[0], scenario="bot")
        pool.join()
        raise StopUser


class Browser(Shopper):
    """Looks around: the shelves, the sale, its events, and an order of its own."""

    fixed_count = BROWSERS
    wait_time = between(0.2, 1.0)

    def on_start(self):
        super().on_start()
        self.who = self.evening.next_buyer()

    @task(4)
    def shelves(self):
        self.client.get("/v1/products", name="products", headers=self.who)

    @task(8)
    def sale(self):
        self.client.get(f"/v1/sales/{self.sale_id}", name="sale", headers=self.who)

    @task(1)
    def events(self):
        """Follow the sale for a few events; the time shown is the time to the first one."""
        path = f"/v1/sales/{self.sale_id}/events"
        with self.client.get(path, name="events", stream=True, headers=self.who) as response:
            if response.status_code == 200:
                self._read_events(response)

    def _read_events(self, response):
        with gevent.Timeout(2.0, False):
            for _ in range(STREAM_EVENTS_MAX):
                response.stream.readline()

    @task(2)
    def order(self):
        """Buy once, with one key, and see what became of it."""
        status, body, retry_after = self.buy(self.who, "browse", self.skus[-1], scenario="browse")
        if status != 202:
            if status in AGAIN:
                wait_as_told(retry_after)
            return
        order_id = json.loads(body)["order_id"]
        path = f"/v1/orders/{order_id}"
        with self.client.get(path, name="order", headers=self.who, catch_response=True) as response:
            if response.status_code != 200 or response.json()["order_id"] != order_id:
                response.failure(f"an accepted order is not found: {response.status_code}")
                self.evening.fault("an accepted order is not found")


class Night(LoadTestShape):
    """Everybody is there from the start and knows when to act; in the end the lights go out.

    A shape that added classes later would not do: Locust places users of a fixed count only once.
    """

    def tick(self):
        if self.get_run_time() >= self.runner.environment.parsed_options.seconds:
            return None
        everybody = self.runner.environment.user_classes
        return sum(user.fixed_count for user in everybody), 100
