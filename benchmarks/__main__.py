"""Measure everything again, keep it in benchmarks/results, and put it into docs.

    python -m benchmarks [--millions 0,1,10]

On a quiet machine: about twenty minutes, and with ten million orders ten minutes more.
"""

import argparse
import subprocess
import sys

QUESTIONS = (
    ("cost",),
    ("rivals",),
    ("hot",),
    ("growth", "workers"),
    ("growth", "nodes"),
    ("idle",),
    ("overload",),
    ("reserve",),
    ("checkout",),
    ("ledger",),
    ("orders", "--batches", "100,1000,4000"),
    ("catalogue",),
    ("order_lists",),
    ("gate", "--waves", "1000", "--batches", "64,256,512,1000"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", default="0,1", help="orders in the table, by side")
    asked = parser.parse_args()
    for question in (*QUESTIONS, ("growth", "table", "--millions", asked.millions)):
        ask(*question, "--write")
    ask("flame")
    ask("plot")


def ask(name: str, *options: str) -> None:
    print("\n$ python -m", " ".join((f"benchmarks.{name}", *options)), flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=True)


if __name__ == "__main__":
    main()
