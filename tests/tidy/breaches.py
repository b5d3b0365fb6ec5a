"""One breach for every check, beside something lawful that looks like it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NewType

import msgspec
import rich_click as click

from tests.tidy import lua, migrations, python, sql, text

OrderId = NewType("OrderId", str)
LIFE = {"new": {"paid"}, "paid": {"shipped"}, "shipped": set()}
SCHEMAS = {"kit", "orders", "sales"}
HERE = Path(__file__).parent


class Breach(NamedTuple):
    check: Callable[..., list[str]]
    name: str
    wrong: Any
    right: Any
    facts: Mapping[str, Any] = {}
    findings: int = 1


class Row(msgspec.Struct):
    id: OrderId
    amount_minor: int
    paid_at: datetime | None
    reason: str


ROW = [
    sql.Column("id", "text", nullable=False),
    sql.Column("amount_minor", "int8", nullable=False),
    sql.Column("paid_at", "timestamptz", nullable=True),
    sql.Column("reason", "text", nullable=False),
]


def function(lines: int) -> str:
    return "def long():\n" + "    x = 1\n" * (lines - 1)


@click.command(help="Say hello.")
@click.option("--loud", is_flag=True, help="Say it loudly.")
def hello() -> None: ...


@click.command(help="Say hello.")
@click.option("--loud", is_flag=True)
def mumble() -> None: ...


@click.group(help="Greet.", commands={"hello": hello})
def greet() -> None: ...


@click.group(help="Greet.", commands={"mumble": mumble, "silent": click.Command("silent")})
def grumble() -> None: ...


PYTHON = [
    Breach(
        python.opens_transactions,
        "by asyncpg",
        "async def verb(conn):\n    async with conn.transaction():\n        pass",
        "async def verb(conn):\n    await store.transactions(conn)",
    ),
    Breach(
        python.opens_transactions,
        "by kit",
        "from core.kit import db\nasync def verb(pool):\n    return db.transaction(pool)",
        "from core.kit import db\nasync def verb(conn: db.Conn): ...",
    ),
    Breach(
        python.opens_transactions,
        "by kit, under another name",
        "from core.kit.db import snapshot as look\nlook(pool)",
        "from elsewhere import snapshot as look\nlook(pool)",
    ),
    Breach(
        python.reads_clock,
        "now",
        "from datetime import datetime\ndatetime.now(tz)",
        "from datetime import datetime\ndatetime.fromtimestamp(0, tz)",
    ),
    Breach(
        python.reads_clock,
        "utcnow, as a default",
        "import datetime as dt\nf(default_factory=dt.datetime.utcnow)",
        "import datetime as dt\ndef f(now: dt.datetime): ...",
    ),
    Breach(
        python.reads_clock,
        "time",
        "import time\ntime.time()",
        "import asyncio\nloop = asyncio.get_running_loop()\nloop.time()",
    ),
    Breach(
        python.reads_environment,
        "environ",
        "import os\nos.environ['A']",
        "import os\nos.path.join('a', 'b')",
    ),
    Breach(
        python.reads_environment,
        "getenv",
        "from os import getenv\ngetenv('A')",
        "from ours import getenv\ngetenv('A')",
    ),
    Breach(
        python.draws_randomness,
        "random",
        "import random\nrandom.choice([1])",
        "from ours import random\nrandom.choice([1])",
    ),
    Breach(
        python.draws_randomness,
        "secrets",
        "from secrets import token_hex\ntoken_hex(8)",
        "def f(token_hex): return token_hex(8)",
    ),
    Breach(
        python.draws_randomness,
        "uuid4",
        "import uuid\nuuid.uuid4()",
        "import uuid\nuuid.UUID('0' * 32)",
    ),
    Breach(
        python.draws_randomness, "urandom", "import os\nos.urandom(8)", "import os\nos.getpid()"
    ),
    Breach(python.long_functions, "", function(50), function(49)),
    Breach(
        python.long_functions,
        "a method, async",
        "class A:\n    async def f(self):\n" + "        x = 1\n" * 49,
        "class A:\n" + "    x = 1\n" * 100,
    ),
    Breach(
        python.long_kernels,
        "",
        "cdef int f(\n    int a,\n) noexcept:\n" + "    a += 1\n" * 47,
        "cdef int f(int a):\n" + "    a += 1\n\n" * 20 + "def g(): ...\n" + "cdef int x = 1\n" * 9,
    ),
    Breach(python.assigns_state, "", "order.state = State.PAID", "state = order.state"),
    Breach(
        python.assigns_state,
        "in disguise",
        "msgspec.structs.replace(order, state=State.PAID)",
        "msgspec.structs.replace(order, reason='state')",
    ),
    Breach(
        python.goes_behind_a_face,
        "",
        "from core.orders import store",
        "from core.orders import find",
        {"inside": {"core.orders.store"}},
    ),
    Breach(
        python.goes_behind_a_face,
        "deeper",
        "from core.orders.store import find",
        "from core import orders\norders.find()",
        {"inside": {"core.orders.store"}},
    ),
    Breach(
        python.loose_verbs,
        "a fact without its name",
        "async def f(conn: Conn, order: Order, sku_id: SkuId | None): ...",
        "async def f(conn: Conn, order: Order, *, sku_id: SkuId | None): ...",
    ),
    Breach(
        python.loose_verbs,
        "conn is not first",
        "async def f(order: Order, conn: Conn): ...",
        "async def _f(order: Order, conn: Conn): ...",
    ),
    Breach(
        python.vague_refusals,
        "no title, no kind",
        "class SoldOut(Refusal):\n    pass",
        'class SoldOut(Refusal):\n    """Nothing is left. Come back."""\n    kind = Kind.CONFLICT',
        findings=2,
    ),
    Breach(
        python.vague_refusals,
        "a subclass with two paragraphs",
        'class CannotAudit(sales.SoldOut):\n    """Nothing.\n\n    At all.\n    """',
        'class CannotAudit(sales.SoldOut):\n    """Nothing at all."""',
        {"known": {"SoldOut"}},
    ),
    Breach(
        python.thawed_structs,
        "",
        "class Order(msgspec.Struct): ...",
        "class Order(msgspec.Struct, frozen=True, gc=False): ...",
    ),
    Breach(
        python.mocks,
        "",
        "from unittest import mock",
        "import unittest\nfrom tests.core import mocking",
    ),
    Breach(
        python.unchecked_moves,
        "",
        "async def pay(conn, order):\n    await store.move(conn, order.id)",
        "async def pay(conn, order):\n    check_move(MOVES, a, b)\n    await store.move(conn)",
        {"movers": {"move"}},
    ),
    Breach(
        python.long_comments,
        "four lines",
        "# 1\n# 2\n# 3\n# 4\nx = 1",
        "# 1\n# 2\n# 3\nx = 1  # 4\n# 5",
    ),
    Breach(python.long_comments, "a banner", "# --- Orders ---", "# a == b"),
    Breach(
        python.unexplained_skips,
        "skip",
        "@pytest.mark.skip\ndef test(): ...",
        "@pytest.mark.skip('needs FUSE')\ndef test(): ...",
    ),
    Breach(
        python.unexplained_skips,
        "skipif",
        "pytestmark = pytest.mark.skipif(True, reason='')",
        "pytestmark = pytest.mark.skipif(True, reason=WHY)",
    ),
    Breach(python.unexplained_skips, "at run time", "pytest.skip()", "pytest.skip(f'no {x}')"),
    Breach(
        python.foreign_imports, "", "import os, httpx", "import os\nfrom urllib.request import x"
    ),
]

SQL = [
    Breach(
        sql.speaks_sql,
        "a statement",
        'x = "SELECT 1"',
        '"""SELECT is a word."""\nx = "Select your size, update your cart"',
    ),
    Breach(
        sql.speaks_sql,
        "in small letters",
        'x = f"delete from orders.lines where id = {n}"',
        'x = f"{n} lines from orders"',
    ),
    Breach(
        sql.speaks_sql,
        "handed over",
        "await conn.fetchval(store.FIND, 1)",
        "await pipeline.execute()",
    ),
    Breach(
        sql.scattered_statements,
        "above somebody else's",
        "A = 'SELECT 1'\nasync def f(c): c.fetch(A)\nB = 'SELECT 2'\nasync def g(c): c.fetch(A)",
        "A = 'SELECT 1'\nasync def f(c): c.fetch(A)\nasync def g(c): c.fetch(A)",
    ),
    Breach(
        sql.scattered_statements,
        "below its function",
        "async def f(c):\n    c.fetch(A)\nA = 'SELECT 1'",
        "A = 'SELECT 1'\nB = 'SELECT 2'\nasync def f(c):\n    c.fetch(A)\n    c.fetch(B)",
    ),
    Breach(
        sql.scattered_statements,
        "put together",
        "async def f(c, n):\n    await c.fetch(f'SELECT {n}')",
        "A = 'SELECT $1'\nasync def f(c, n):\n    await c.fetch(A, n)",
    ),
    Breach(
        sql.strays,
        "",
        "SELECT id FROM orders.orders JOIN sales.sales ON true",
        "SELECT o.id FROM orders.orders o WHERE note <> 'sales.sales' -- sales.sales",
        {"own": "orders", "schemas": SCHEMAS},
    ),
    Breach(
        sql.sorts_by_spelling,
        "",
        "SELECT id::text, count(*) FROM orders.orders GROUP BY 1 ORDER BY id LIMIT 1",
        "SELECT id::text FROM orders.orders ORDER BY orders.id LIMIT 1",
    ),
    Breach(
        sql.sorts_by_spelling,
        "named so",
        "SELECT 1 FROM (SELECT o.number::text AS id FROM orders.orders o ORDER BY x, id DESC) a",
        "SELECT o.id::text FROM (SELECT id, 1::text AS x FROM orders.orders ORDER BY id) o",
    ),
    Breach(
        sql.unknown_states,
        "compared",
        "SELECT 1 FROM t WHERE state IN ('new', 'payed')",
        "SELECT 1 FROM t WHERE state IN ('new', 'paid') OR reason = 'payed'",
        {"lives": [LIFE]},
    ),
    Breach(
        sql.unknown_states,
        "inserted",
        "INSERT INTO o.o (id, state) VALUES ($1, 'gnu')",
        "INSERT INTO o.o (reason, state) VALUES ('gnu', 'new')",
        {"lives": [LIFE]},
    ),
    Breach(
        sql.illegal_moves,
        "no such way",
        sql.Statement("SHIP", 1, "UPDATE o.o SET state = 'shipped' WHERE state = 'new'"),
        sql.Statement("SHIP", 1, "UPDATE o.o SET state = 'shipped' WHERE state = 'paid'"),
        {"lives": [LIFE]},
    ),
    Breach(
        sql.illegal_moves,
        "from anywhere",
        sql.Statement("SHIP", 1, "UPDATE o.o SET state = 'shipped' WHERE state <> 'new'"),
        sql.Statement("SHIP", 1, "UPDATE o.o SET x = 1 WHERE state <> 'new'"),
        {"lives": [LIFE]},
    ),
    Breach(
        sql.illegal_moves,
        "by parameter, from anywhere",
        sql.Statement("MOVE", 1, "UPDATE o.o SET state = $2 WHERE id = $1"),
        sql.Statement("MOVE", 1, "UPDATE o.o SET state = $2 WHERE id = $1 AND state = $3"),
        {"lives": [LIFE]},
    ),
    Breach(sql.misfits, "another order", [ROW[1], ROW[0], *ROW[2:]], ROW, {"shape": Row}),
    Breach(
        sql.misfits, "another type", [ROW[0]._replace(kind="uuid"), *ROW[1:]], ROW, {"shape": Row}
    ),
    Breach(
        sql.misfits,
        "a NULL that the Struct does not know",
        [*ROW[:3], ROW[3]._replace(nullable=True)],
        ROW,
        {"shape": Row},
    ),
]

MIGRATIONS = [
    Breach(
        migrations.numbering,
        "a gap",
        ["0001_kit.sql", "0003_orders.sql"],
        ["0002_orders.sql", "0001_kit.sql"],
    ),
    Breach(migrations.numbering, "one twice", ["0001_a.sql", "0001_b.sql"], ["0001_a.sql"]),
    Breach(
        migrations.steps_back,
        "",
        "ALTER TABLE o.o DROP COLUMN reason;",
        "-- contract: nothing has read it since 0004\nALTER TABLE o.o DROP COLUMN reason;",
    ),
    Breach(
        migrations.steps_back,
        "another type",
        "ALTER TABLE o.o ALTER COLUMN id TYPE uuid;",
        "ALTER TABLE o.o ADD COLUMN type text;",
    ),
    Breach(
        migrations.speechless_constraints,
        "no name",
        "CREATE TABLE o.o (id int, CHECK (id > 0), code text UNIQUE);",
        "CREATE TABLE o.o (id int, CONSTRAINT an_id_is_positive CHECK (id > 0)); -- UNIQUE",
        findings=2,
    ),
    Breach(
        migrations.speechless_constraints,
        "no sentence, and one that Postgres cuts",
        f"CONSTRAINT id_check CHECK (true), CONSTRAINT {'a_very_' * 9}long_one UNIQUE (id)",
        "CREATE UNIQUE INDEX an_order_is_followed_once ON o.o (follows);",
        findings=2,
    ),
    Breach(
        migrations.mixed_schemas,
        "a foreign key",
        "CREATE TABLE orders.o (sale_id bigint REFERENCES sales.sales);",
        "CREATE TABLE orders.o (id bigint REFERENCES orders.p); -- FROM sales.sales",
    ),
]

SCRIPT = """-- Do it.
-- KEYS[1]    sluice:{bucket}:left   hash
-- ARGV[1]    stamp
-- ARGV[2..]  a claim
-- RETURNS    1

-- KEYS[7] is not used here
for i = 2, #ARGV do redis.call('SET', KEYS[1], ARGV[1] .. ARGV[i]) end
return 1
"""

KEYS = ("sluice:{17}:left",)

LUA = [
    Breach(lua.dishonest_header, "an undeclared key", SCRIPT + "KEYS[2]", SCRIPT),
    Breach(lua.dishonest_header, "an unused argument", SCRIPT.replace("ARGV[1] ..", ""), SCRIPT),
    Breach(
        lua.dishonest_header,
        "no range",
        SCRIPT.replace("-- ARGV[2..]  a claim\n", ""),
        SCRIPT.replace("for i = 2, #ARGV do", "for i = 2, n do"),
    ),
    Breach(lua.dishonest_header, "another range", SCRIPT.replace("i = 2, #", "i = 3, #"), SCRIPT),
    Breach(lua.dishonest_header, "no RETURNS", SCRIPT.replace("RETURNS", "GIVES"), SCRIPT),
    Breach(lua.dishonest_header, "no blank line", SCRIPT.replace("\n\n", "\n\n\n"), SCRIPT),
    Breach(
        lua.dishonest_header,
        "out of order",
        SCRIPT.replace("-- KEYS[1]", "-- KEYS[2]"),
        SCRIPT,
        findings=3,
    ),
    Breach(
        lua.door_mismatch,
        "",
        SCRIPT.replace(":left", ":sale"),
        SCRIPT,
        {"passed": KEYS, "keys": KEYS, "bucket": 17},
    ),
    Breach(
        lua.door_mismatch,
        "no such key",
        SCRIPT.replace(":left", ":lent"),
        SCRIPT.replace(":left", ":..."),
        {"keys": KEYS, "bucket": 17},
    ),
    Breach(
        lua.long_functions,
        "",
        "local function f()\n" + "    x = 1\n" * 48 + "end\n",
        "local function f()\n    x = 1\nend\n" + "x = 1\n" * 48 + "for i = 1, 2 do\nend\n",
    ),
]

# Put together, so that this file does not break the rules itself.
SLASH = "/"
MARK = f"{'TO'}DO"

TEXT = [
    Breach(text.unfinished_marks, "", f"# {MARK}: later", f"to do, {MARK}S"),
    Breach(
        text.machine_paths,
        "",
        f"see {SLASH}home/ann/x",
        f"https://x.example{SLASH}home/ and .{SLASH}tmp/x",
    ),
    Breach(text.machine_paths, "a folder itself", f"cd {SLASH}tmp", "GET /tmpl"),
    Breach(text.registry_indexes, "", f"pip install --{'index'}-url x", "an index of urls"),
    Breach(
        text.registry_indexes,
        "an address",
        f"https://mirror.example/pypi{SLASH}simple",
        "a/simple b",
    ),
    Breach(
        text.unexplained_exclusions,
        "",
        '[tool.ruff.lint]\nselect = ["ALL"]\nignore = [\n    "S101",\n]\n[tool.x]\ny = "Z"',
        '[tool.ruff.lint]\nselect = ["ALL"]\nignore = [\n    "S101",  # a reason\n]',
    ),
    Breach(
        text.unhashed_requirements,
        "",
        "httpx==0.28\n    # via sluice\nidna>=3 \\\n    --hash=sha256:1",
        "# by uv\nanyio==4.16.0 ; sys_platform == 'x' \\\n    --hash=sha256:0\n    # via sluice",
        findings=2,
    ),
    Breach(text.vague_names, "", "core/utils/money.py", "core/kit/money.py"),
    Breach(text.vague_names, "a module", "api/helpers.py", "api/based.py"),
    Breach(
        text.unrecorded_parts,
        "",
        "# A\n## Context\n## Decision\n",
        "# A\n## Context\n## Decision\n## Consequences\n## Alternatives\n",
    ),
    Breach(
        text.dead_links,
        "",
        "[a](nowhere.md) [b](https://x.example) [c](#here)",
        "[a](breaches.py#x) `[b](nowhere.md`\n```\n[c](nowhere.md)\n```",
        {"folder": HERE},
    ),
    Breach(
        text.missing_texts,
        "",
        {"sold-out": "Sold out.", "busy": ""},
        {"sold-out": "Sold out."},
        {"chinese": {"sold-out": "x"}},
        findings=2,
    ),
    Breach(
        text.missing_texts,
        "left over",
        {"busy": "Busy."},
        {"busy": "Busy.", "sold-out": "Sold out."},
        {"chinese": {"busy": "x", "sold-out": "x"}},
    ),
    Breach(
        text.double_meanings,
        "",
        [("busy", 1, "Busy."), ("busy", 1, "Very busy.")],
        [("busy", 1, "Busy."), ("busy", 1, "Busy.")],
    ),
    Breach(text.silent_commands, "", grumble, greet, {"name": "greet"}, findings=2),
]

BREACHES = [*PYTHON, *SQL, *MIGRATIONS, *LUA, *TEXT]
