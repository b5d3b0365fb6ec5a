"""House rules that a linter cannot know. Each test is one rule; its name is the rule.

The checkers are in tests/tidy, and `test_the_check_itself_finds_a_breach` shows each of them one.
What may break a rule is named in ESCAPES with the reason; an escape that nothing needs fails too.
"""

import contextlib
import inspect
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest
import rich_click as click

from api import problems, texts
from api.cli import sluice
from core.kit.states import IllegalMove, check_move
from hotpath.scripts import BucketKeys
from tests.tidy import lua, migrations, python, sql, text, tree
from tests.tidy.breaches import BREACHES
from tests.tidy.tree import CODE, DOMAINS, KEEPERS, ROOT, files

Check = Callable[..., list[str]]


# Python outside of the packages: the launcher, the build, the measurements.
SCRIPTS = [ROOT / "sluice", ROOT / "setup.py", *files("benchmarks", suffix=".py")]


class Escape(NamedTuple):
    """Lets pass what a check finds at `path`, or below it, if it mentions `what`."""

    path: str
    why: str
    what: str = ""


ESCAPES: Mapping[Check, list[Escape]] = {
    sql.scattered_statements: [
        Escape("core/kit/db.py", "migrates, before there is a schema to prepare a statement on"),
    ],
    sql.speaks_sql: [
        Escape("core/embedded/postgres.py", "gives a server that listens nowhere its password"),
        Escape(
            "api/alipay_sandbox/store.py", "plays a service that keeps its own books, in SQLite"
        ),
        Escape(
            "api/paypal_sandbox/store.py", "plays a service that keeps its own books, in SQLite"
        ),
        Escape("api/played/store.py", "keeps what those books have in common"),
        Escape("api/sandbox/store.py", "plays a service that keeps its own books, in SQLite"),
    ],
    python.reads_clock: [
        Escape("core/embedded/", "starts and stops programs: an edge of its own"),
    ],
    python.reads_environment: [
        Escape("core/settings.py", "is where the environment enters"),
        Escape("hotpath/kernels.py", "lets a test choose the readable twins"),
        Escape("core/embedded/", "starts and stops programs: an edge of its own"),
    ],
    python.draws_randomness: [
        Escape("core/embedded/", "makes the passwords and keys of a development machine"),
        Escape("hotpath/wire.py", "spreads reconnects; nothing is decided by it", what="uniform"),
    ],
    migrations.speechless_constraints: [
        Escape("core/migrations/0005_sales.sql", "is the promise itself", what="never_oversold"),
    ],
}


def breaches(check: Check, paths: Iterable[Path], **facts: object) -> list[str]:
    """What a check finds in some files, without what may pass."""
    paths = list(paths)
    assert paths, "a check that sees no file checks nothing"
    passing = ESCAPES.get(check, [])
    return [
        f"{tree.where(path)}:{finding}"
        for path in paths
        for finding in check(path.read_text(encoding="utf-8"), **facts)
        if not any(tree.where(path).startswith(e.path) and e.what in finding for e in passing)
    ]


def outside(*folders: str) -> list[Path]:
    """The code, except for some folders."""
    starts = tuple(f"{folder}/" for folder in folders)
    return [path for path in files(*CODE, suffix=".py") if not tree.where(path).startswith(starts)]


def test_only_flows_kit_and_edges_open_transactions():
    lawful = ("core/flows", "core/kit", "core/jobs", "api")
    assert breaches(python.opens_transactions, outside(*lawful)) == []


def test_only_stores_and_kit_speak_sql():
    others = [path for path in outside() if not tree.is_store(path)]
    assert breaches(sql.speaks_sql, others) == []


def test_a_statement_is_a_constant_right_above_what_runs_it():
    assert breaches(sql.scattered_statements, tree.stores()) == []


@pytest.mark.parametrize("path", tree.stores(), ids=tree.where)
def test_a_store_touches_its_own_schema_only(path):
    schemas = {*DOMAINS, "kit"}
    found = [
        f"{statement.name}: {finding}"
        for statement in sql.statements(path.read_text(encoding="utf-8"))
        for finding in sql.strays(statement.text, own=tree.domain_of(path), schemas=schemas)
    ]
    assert found == []


SPEAKERS = [p for p in tree.stores() if sql.statements(p.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", SPEAKERS, ids=tree.where)
async def test_every_statement_prepares_and_fits_its_struct(path, database_url):
    module = tree.module_of(path)
    found = []
    conn = await asyncpg.connect(database_url)
    for statement in sql.statements(path.read_text(encoding="utf-8")):
        returned = (await conn.prepare(statement.text)).get_attributes()
        if statement.shape:
            nullable = await nullable_columns(conn, statement.text) - sql.filled(statement.text)
            columns = [sql.Column(c.name, c.type.name, c.name in nullable) for c in returned]
            misfits = sql.misfits(columns, shape=getattr(module, statement.shape))
            found += [f"{statement.name}: {misfit}" for misfit in misfits]
    await conn.close()
    assert found == []


async def nullable_columns(conn: asyncpg.Connection, statement: str) -> set[str]:
    """Columns that may be NULL in every table of the statement that has them."""
    rows = await conn.fetch(
        "SELECT attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
        "  JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname || '.' || relname = ANY($1) AND attnum > 0"
        " GROUP BY attname HAVING NOT bool_or(attnotnull)",
        re.findall(r"\b\w+\.\w+", statement),
    )
    return {row["attname"] for row in rows}


@pytest.mark.parametrize("service", ["alipay_sandbox", "paypal_sandbox", "played", "sandbox"])
def test_every_statement_of_what_we_play_prepares(service, tmp_path):
    path = ROOT / "api" / service / "store.py"
    (schema, *others) = sql.statements(path.read_text(encoding="utf-8"))
    assert schema.name == "SCHEMA"
    assert others
    with contextlib.closing(sqlite3.connect(tmp_path / "books")) as books:
        books.executescript(schema.text)
        for statement in others:
            books.execute(f"EXPLAIN {statement.text}", [None] * statement.text.count("?"))


@pytest.mark.parametrize("path", tree.stores(), ids=tree.where)
def test_no_number_is_sorted_as_text(path):
    found = [
        f"{statement.name}: {finding}"
        for statement in sql.statements(path.read_text(encoding="utf-8"))
        for finding in sql.sorts_by_spelling(statement.text)
    ]
    assert found == []


@pytest.mark.parametrize("domain", KEEPERS)
def test_a_change_of_state_is_a_legal_move(domain):
    store = ROOT / "core" / domain / "store.py"
    found = [
        finding
        for statement in sql.statements(store.read_text(encoding="utf-8"))
        for finding in sql.illegal_moves(statement, lives=tree.lives(domain))
    ]
    assert found == []


@pytest.mark.parametrize("domain", KEEPERS)
def test_a_verb_asks_check_move_before_the_store_moves_anything(domain):
    home = ROOT / "core" / domain
    movers = sql.movers((home / "store.py").read_text(encoding="utf-8"))
    assert breaches(python.unchecked_moves, [home / "service.py"], movers=movers) == []


@pytest.mark.parametrize("life", [m for d in DOMAINS for m in tree.lives(d)])
def test_check_move_agrees_with_the_table_over_all_pairs(life):
    states = type(next(iter(life)))
    assert set(life) == set(states)
    for source in states:
        for target in states:
            if target in life[source]:
                check_move(life, source, target)
            else:
                with pytest.raises(IllegalMove):
                    check_move(life, source, target)


def test_nothing_assigns_a_state():
    core = [p for p in files("core", suffix=".py") if tree.domain_of(p) not in {"embedded", "kit"}]
    assert breaches(python.assigns_state, core) == []


def test_migrations_are_numbered_without_a_gap():
    names = [path.name for path in files("core/migrations", suffix=".sql")]
    assert migrations.numbering(names) == []


def test_migrations_go_forward_only():
    assert breaches(migrations.steps_back, files("core/migrations", suffix=".sql")) == []


def test_constraints_are_named_as_sentences():
    scripts = files("core/migrations", suffix=".sql")
    assert breaches(migrations.speechless_constraints, scripts) == []


def test_a_migration_is_one_domains_business():
    assert breaches(migrations.mixed_schemas, files("core/migrations", suffix=".sql")) == []


@pytest.mark.parametrize("path", files("core/migrations", suffix=".sql"), ids=lambda p: p.name)
def test_a_migration_names_only_states_that_exist(path):
    script = path.read_text(encoding="utf-8")
    lives = [life for schema in migrations.schemas(script) for life in tree.lives(schema)]
    scripts = [p.read_text(encoding="utf-8") for p in files("core/migrations", suffix=".sql")]
    lives.append(dict.fromkeys(migrations.retired_states(scripts), ()))
    assert sql.unknown_states(script, lives=lives) == []


def test_a_script_declares_every_key_and_argument_it_uses_and_what_it_returns():
    assert breaches(lua.dishonest_header, files("hotpath/lua", suffix=".lua")) == []


@pytest.mark.parametrize("path", files("hotpath/lua", suffix=".lua"), ids=lambda p: p.name)
def test_a_script_names_keys_of_a_bucket_as_its_door_passes_them(path):
    keys = BucketKeys(17)
    door = getattr(keys, f"for_{path.stem}", lambda: None)
    found = breaches(lua.door_mismatch, [path], bucket=17, keys=keys.all(), passed=door())
    assert found == []


def test_functions_fit_a_screen():
    assert breaches(python.long_functions, [*outside(), *SCRIPTS]) == []
    assert breaches(lua.long_functions, files("hotpath", suffix=".lua")) == []
    assert breaches(python.long_kernels, files("hotpath", suffix=".pyx")) == []


def test_a_test_fits_a_screen_and_a_half():
    tests = files("tests", suffix=".py")
    assert breaches(python.long_functions, tests, lines_max=python.TEST_LINES_MAX) == []


def test_only_the_edges_read_the_clock():
    assert breaches(python.reads_clock, outside("api", "core/jobs")) == []


def test_only_the_edges_read_the_environment():
    assert breaches(python.reads_environment, outside("api")) == []


def test_only_the_edges_draw_randomness():
    assert breaches(python.draws_randomness, outside("api", "core/jobs")) == []


def test_a_verb_is_handed_its_conn_first_and_its_facts_by_name():
    services = [path for path in files("core", suffix=".py") if path.name == "service.py"]
    assert breaches(python.loose_verbs, services) == []


@pytest.mark.parametrize("domain", [*DOMAINS, ""])
def test_a_domain_is_entered_by_its_face(domain):
    inside = {name for name in tree.inside_domains() if not name.startswith(f"core.{domain}.")}
    paths = files(f"core/{domain}", suffix=".py")
    if not domain:
        paths = [path for path in outside() if tree.domain_of(path) not in DOMAINS]
    assert breaches(python.goes_behind_a_face, paths, inside=inside) == []


def test_what_a_domain_hands_out_is_frozen():
    models = [path for path in files("core", suffix=".py") if path.name == "model.py"]
    assert breaches(python.thawed_structs, models) == []


def test_a_refusal_has_a_kind_and_a_title_in_one_line_of_sentences():
    known = {refusal.__name__ for refusal in tree.refusals()}
    assert breaches(python.vague_refusals, outside(), known=known) == []


def test_every_refusal_has_a_text_in_both_languages_and_no_text_is_left_over():
    titles = {problems.slug(r): problems.title(r) for r in tree.refusals() if hasattr(r, "kind")}
    titles |= dict(problems.PLAIN.values())
    assert text.missing_texts(titles, texts.ZH) == []


def test_two_refusals_of_one_name_mean_the_same():
    named = [(problems.slug(r), r.kind, problems.title(r)) for r in tree.refusals()]
    assert text.double_meanings(named) == []


@pytest.mark.parametrize("verb", sluice.list_commands(click.Context(sluice)))
def test_every_command_and_every_option_has_help(verb):
    command = sluice.get_command(click.Context(sluice), verb)
    assert command is not None
    assert text.silent_commands(command, name=verb) == []


def test_comments_are_three_lines_at_most():
    assert breaches(python.long_comments, [*outside(), *SCRIPTS]) == []


def test_a_skipped_test_says_why():
    assert breaches(python.unexplained_skips, files("tests", suffix=".py")) == []


def test_nothing_is_mocked():
    assert breaches(python.mocks, files("tests", suffix=".py")) == []


def test_folders_and_modules_are_named_for_what_they_hold():
    names = [tree.where(path) for path in tree.repository()]
    assert [name for name in names if text.vague_names(name)] == []


def readable() -> list[Path]:
    return [path for path in tree.repository() if b"\0" not in path.read_bytes()]


def test_nothing_is_marked_as_unfinished():
    assert breaches(text.unfinished_marks, readable()) == []


def test_no_file_knows_a_machine_or_a_registry():
    assert breaches(text.machine_paths, readable()) == []
    assert breaches(text.registry_indexes, readable()) == []


@pytest.mark.parametrize("path", files(suffix=".md"), ids=tree.where)
def test_every_link_of_a_document_leads_somewhere(path):
    assert breaches(partial(text.dead_links, folder=path.parent), [path]) == []


@pytest.mark.parametrize("path", files("docs/decisions", suffix=".md"), ids=tree.where)
def test_a_decision_record_has_its_four_parts(path):
    assert breaches(text.unrecorded_parts, [path]) == []


def test_the_launcher_needs_nothing_but_the_standard_library():
    assert breaches(python.foreign_imports, [ROOT / "sluice"]) == []


def test_a_rule_of_ruff_is_not_switched_off_without_a_reason():
    assert breaches(text.unexplained_exclusions, [ROOT / "pyproject.toml"]) == []


def test_every_package_is_locked_to_its_hash():
    assert breaches(text.unhashed_requirements, [ROOT / "requirements.lock"]) == []


def test_setup_is_short():
    assert len((ROOT / "setup.py").read_text(encoding="utf-8").splitlines()) < 80


CHECKS = {
    check
    for module in (lua, migrations, python, sql, text)
    for name, check in inspect.getmembers(module, inspect.isfunction)
    if check.__module__ == module.__name__
    and inspect.signature(check).return_annotation == list[str]
    and not name.startswith("_")
    and check is not migrations.schemas
}


@pytest.mark.parametrize("breach", BREACHES, ids=lambda b: f"{b.check.__name__} {b.name}")
def test_the_check_itself_finds_a_breach(breach):
    assert len(breach.check(breach.wrong, **breach.facts)) == breach.findings
    assert breach.check(breach.right, **breach.facts) == []


def test_every_check_is_shown_a_breach():
    assert {check.__name__ for check in CHECKS - {b.check for b in BREACHES}} == set()


@pytest.mark.parametrize(
    ("check", "escape"), [(c, e) for c, listed in ESCAPES.items() for e in listed]
)
def test_every_escape_is_still_needed(check, escape):
    under = [path for path in tree.repository() if tree.where(path).startswith(escape.path)]
    findings = [f for p in under if p.suffix in {".py", ".sql"} for f in check(p.read_text())]
    assert any(escape.what in finding for finding in findings)
