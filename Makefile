.DEFAULT_GOAL := help
.PHONY: help setup run test lint format bench faults lock clean

export PATH := $(CURDIR)/.venv/bin:$(PATH)

help:    ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-8s %s\n",$$1,$$2}' Makefile
setup:   ## Make .venv, install the hashed lock, build the kernels
	./sluice setup
run:     ## Everything on this machine, with an open demo sale
	./sluice dev
test:    ## Lint, types, and the suite against real Postgres and Redis
	./sluice test
lint: setup   ## Format, lint, types, import rules, without the suite
	ruff format --check . sluice && ruff check . sluice && mypy && lint-imports && cython-lint hotpath
format: setup ## Format, and mend what can be mended
	ruff format . sluice && ruff check --fix . sluice
bench: setup  ## Measure; writes benchmarks/results/
	python -m benchmarks
faults: export PYTEST_TIMEOUT = 0
faults:  ## Power cuts, kills, wrong servers, storms, the model: the full counts, on Valkey and Debian's Redis
	TEST_KILLS=20 TEST_CUTS=20 TEST_STEPS=10000 TEST_STORMS=5 TEST_NEIGHBOURS_S=60 ./sluice test tests/faults tests/hotpath/test_lua.py -s
	TEST_REDIS=debian TEST_CUTS=20 ./sluice test tests/faults/test_power_cut.py -s
	TEST_STEPS=1000000 ./sluice test tests/hotpath/test_twins.py tests/hotpath/test_risk_twins.py -s
	TEST_SPLITS=100000 ./sluice test tests/core/test_split.py tests/core/test_consignments.py -s
	TEST_LEDGER_STEPS=100000 ./sluice test tests/core/test_ledger_walk.py -s
	TEST_ORDER_STEPS=100000 ./sluice test tests/core/test_order_walk.py -s
	TEST_BASKETS=1000000 ./sluice test tests/core/test_pricing.py -s
	TEST_FULFILMENT_STEPS=100000 ./sluice test tests/core/test_fulfilment_walk.py -s
	TEST_STOCK_STEPS=100000 ./sluice test tests/core/test_stock_walk.py tests/core/test_stock_crowd.py -s
	TEST_IMPORT_ROWS=100000 ./sluice test tests/api/test_import_many.py -s
lock: setup   ## Resolve requirements.lock anew, for Python 3.11 to 3.13
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --extra embedded --extra rehearse --extra benchmark --group dev pyproject.toml -o requirements.lock
clean:   ## Remove what was built; data in .sluice stays
	rm -rf .venv build hotpath/*.so hotpath/*.c *.egg-info
