# Builds, tests and shows DART. Works on a bare Debian 12 with python3, make and git; everything lands in .venv.
.SILENT:
.DEFAULT_GOAL := help
PYTHON ?= python3
MINUTES ?= 10
BIN := .venv/bin
INSTALLED := .venv/.installed
PROCESSES ?= 3
# Some machines ask for it; then each of the many starts of a test run compiles all that it loads, which is a third of it.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(BIN)/coverage run -m pytest -q
SIMULATE := PYTHONPATH=tests PYTHONHASHSEED=0 $(BIN)/python -m simulation.run
SEEDS ?= 2000
SEED ?=
CORES := */dart/wire/*,*/dart/broker/core/*,*/dart/agent/core/*
SOURCES := src clients tests benchmarks examples tools docs

.PHONY: help install demo test unit integration e2e check check-page dashboard-load format docs sim sim-long blob-memory chaos crossarch fuzz-rest soak fuzz fuzz-live bench bench-cores bench-scale bench-peers bench-profile mutations javascript audit clean

help: ## what there is
	sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile

install: $(INSTALLED) ## an environment in .venv

$(INSTALLED): pyproject.toml tools/make_venv.sh
	PYTHON=$(PYTHON) tools/make_venv.sh
	touch $@

demo: $(INSTALLED) ## server, two agents, 240 files counted and checked, all stopped again
	$(BIN)/python examples/count_words/demo.py

test: $(INSTALLED) ## all tests in PROCESSES=3 at a time, coverage and its thresholds
	tools/install_test_peers.sh
	$(BIN)/coverage erase
	$(BIN)/python -m compileall -q src clients
	# Real processes on a busy machine: what fails is tried once more, alone and in plain sight; twice is a fault.
	$(PYTEST) -n $(PROCESSES) --dist loadfile --no-loadscope-reorder tests || { echo "== once more: what failed above"; $(PYTEST) --last-failed --last-failed-no-failures=none tests; }
	# A process that was killed while it wrote its file leaves half of one; the reports below judge what there is.
	$(BIN)/coverage combine -q 2> /dev/null || true
	$(BIN)/coverage report --include='$(CORES)' --fail-under=100
	$(BIN)/coverage report --omit='$(CORES)' --fail-under=90

unit: $(INSTALLED) ## no sockets, no sleep: under 10 s
	$(BIN)/pytest -q tests/unit tests/property

integration: $(INSTALLED) ## real sockets, databases and processes
	$(BIN)/pytest -q tests/integration

e2e: $(INSTALLED) ## installed commands against real servers and agents, some of them killed
	$(BIN)/pytest -q tests/e2e tests/chaos

sim: $(INSTALLED) ## SEEDS=2000 simulated installations under faults, or one of them again: SEED=123
	$(SIMULATE) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

sim-long: $(INSTALLED) ## 20,000 others
	$(SIMULATE) --first 1000001 --seeds 20000

chaos: $(INSTALLED) ## MINUTES=10 of killed, stopped and cut off processes, then each scenario at full length (15 more)
	PYTHONPATH=tests $(BIN)/python -m chaos.run --minutes $(MINUTES)
	DART_CHAOS_SCALE=10 $(BIN)/pytest -q tests/chaos/test_links.py tests/chaos/test_processes_hit.py

crossarch: $(INSTALLED) ## the same agent on 32-bit ARM, arm64, big-endian s390x (emulated) and 32-bit x86
	DART_CROSSARCH=armhf,arm64,s390x,i386 $(BIN)/pytest -q tests/crossarch

blob-memory: $(INSTALLED) ## a blob of MIB=2048 from client to task: what each process on its way has in memory
	BLOB_MIB=$(or $(MIB),2048) $(BIN)/pytest -q tests/integration/test_blob_memory.py

fuzz-rest: $(INSTALLED) ## MINUTES=10 of requests made from the OpenAPI document, that fit it and that do not
	PYTHONPATH=tests $(BIN)/python -m fuzz.rest --minutes $(MINUTES)

soak: $(INSTALLED) ## MINUTES=10 of steady load: do memory and database stay as they are?
	$(BIN)/python benchmarks/soak.py $(MINUTES)

fuzz: $(INSTALLED) ## MINUTES=10 of coverage-guided fuzzing of all that reads bytes from outside; KEEP=1 renews the corpus
	$(BIN)/python -c "import atheris" 2> /dev/null || $(BIN)/pip install -q atheris || echo "no atheris: without guidance"
	PYTHONPATH=tests $(BIN)/python -m fuzz.run --minutes $(MINUTES) $(if $(KEEP),--keep)

fuzz-live: $(INSTALLED) ## MINUTES=10 of hostile traffic at a whole installation beside a well-behaved client
	PYTHONPATH=tests $(BIN)/python -m fuzz.live --minutes $(MINUTES)

check: $(INSTALLED) ## format, lint, types, imports, file lengths, generated documents
	$(BIN)/ruff format --check -q $(SOURCES)
	$(BIN)/ruff check -q $(SOURCES)
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo > .venv/imports.txt || { cat .venv/imports.txt; exit 1; }
	PYTHONPATH=tests:tools/site $(BIN)/python tools/check_files.py

dashboard-load: $(INSTALLED) ## the page at / with 2,000 simulated workers and 1,000,000 tasks; pictures in build/pictures
	$(BIN)/python benchmarks/alone/dashboard.py --pictures build/pictures

check-page: ## types of the page's scripts; needs npm
	cd assets && npm ci --ignore-scripts --no-audit --no-fund --silent && npx --no-install tsc -p tsconfig.json

javascript: $(INSTALLED) ## the JavaScript client: types against the OpenAPI document, its units, the conformance suite
	$(BIN)/python tools/write_openapi.py clients/javascript/build/openapi.json
	cd clients/javascript && npm install --ignore-scripts --silent --no-fund --no-audit --no-package-lock && npm run -s check && npm test --silent
	$(BIN)/python clients/conformance/run.py -- node clients/javascript/conformance/driver.js

audit: $(INSTALLED) ## known faults of the libraries we need; fails where nobody can be asked
	$(BIN)/python tools/audit.py

format: $(INSTALLED) ## as `check` wants it
	$(BIN)/ruff format -q $(SOURCES)
	$(BIN)/ruff check -q --fix $(SOURCES)

docs: $(INSTALLED) ## write the generated documents again, and build the site into build/docs/site
	$(BIN)/python docs/make_states.py
	$(BIN)/python docs/make_metrics.py
	$(BIN)/python docs/make_grafana.py
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_performance.py
	$(BIN)/python tools/site/build.py

bench: $(INSTALLED) ## short: DART beside the yardstick, with ratios
	# As pip leaves an installed DART: a start is not to count the compiler.
	$(BIN)/python -m compileall -q src clients
	$(BIN)/python benchmarks/compare.py $(if $(WRITE),--write)

bench-cores: $(INSTALLED) ## the two cores and the codec alone: CPU a task, with up to 1,000,000 queued
	PYTHONPATH=tests $(BIN)/python benchmarks/alone/cores.py

bench-scale: $(INSTALLED) ## many agents, long backlogs, latency under load, far links, payloads, each part alone; WRITE=1 keeps the figures
	$(BIN)/python benchmarks/alone/agents.py --agents 100 500 1000 2000 $(if $(WRITE),--write)
	$(BIN)/python benchmarks/alone/backlog.py $(if $(WRITE),--write)
	$(BIN)/python benchmarks/alone/interactive.py $(if $(WRITE),--write)
	$(BIN)/python benchmarks/alone/payload.py $(if $(WRITE),--write)
	PYTHONPATH=tests $(BIN)/python benchmarks/alone/wan.py $(if $(WRITE),--write)
	PYTHONPATH=tests $(BIN)/python benchmarks/alone/parts.py $(if $(WRITE),--write)

bench-peers: $(INSTALLED) ## DART beside the yardstick and the peers that can be installed here, in one run
	test -d .venv/peers || $(BIN)/pip install -q --target .venv/peers distributed parsl ipyparallel celery redis
	PYTHONPATH=.venv/peers $(BIN)/python benchmarks/peers.py $(if $(WRITE),--write)

bench-profile: $(INSTALLED) ## where the time goes in W1: samples of each process for a flame graph, and a table
	test -x $(BIN)/py-spy || $(BIN)/pip install -q py-spy
	$(BIN)/python benchmarks/flames.py --output profile

mutations: $(INSTALLED) ## do the tests notice when a core is wrong?
	$(BIN)/python tests/mutations.py
	$(BIN)/python tools/mutations.py

clean: ## what was built
	rm -rf .venv build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
