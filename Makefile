# Every target works from a clean clone: the first one run makes .venv, with a python3 >= 3.11 (another: make PYTHON=python3.13 …).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINUTES ?= 10
SEED ?= 1
READY := $(VENV)/.ready

.PHONY: demo test lint check diagrams heat reference docs wheel wheel-test browser-test format campaign mutation cross-check bench bench-quick

demo: $(READY)
	$(BIN)/danube-dispatcher demo

test: $(READY)
	$(BIN)/pytest -q -n auto --dist worksteal -m "not packaging and not browser"

lint: $(READY)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

check: lint test

format: $(READY)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

diagrams: $(READY)
	$(BIN)/python -m diagrams.stories
	$(BIN)/python -m diagrams.draw

# how often the rule-based tests fire each row: into the heat maps of diagrams/
heat: $(READY)
	$(BIN)/pytest -q --hypothesis-seed=$(SEED) --rows diagrams/rows.json tests/statemachines/test_stateful.py tests/runtime/test_stateful.py tests/runtime/test_stateful_non_reliable.py
	$(BIN)/python -m diagrams.draw

# the pages of the reference that are read off the sources
reference: $(READY)
	$(BIN)/python -m docs.reference.write

# the site, into site/; a broken link or reference fails
docs: $(READY) $(VENV)/docs/.ready
	$(VENV)/docs/bin/python docs/site.py

wheel: $(READY)
	$(BIN)/python -m build

wheel-test: $(READY)
	$(BIN)/pytest -q -m packaging

# the live page in a headless browser; needs Chromium (Debian: apt-get install chromium)
browser-test: $(VENV)/browser/.ready
	$(VENV)/browser/bin/pytest -q -m browser tests/live

# simulation, kills, stops, power cuts and failing calls, for so many minutes: make campaign MINUTES=30 SEED=1
campaign: $(READY)
	$(BIN)/python tests/campaign.py --minutes $(MINUTES) --seed $(SEED)

# breaks the code on purpose, and writes to docs/mutation.md who notices; more than an hour
mutation: $(READY)
	$(BIN)/python tests/mutation/who_kills.py --sample 16 --write
	$(BIN)/python tests/mutation/score.py --write

# an independent model of the reliable protocol, by TLC; needs Java. Some runs only: make cross-check RUNS="small-block large"
cross-check: $(VENV)/cross-check/.ready
	$(VENV)/cross-check/bin/python docs/formal/cross_check.py $(RUNS)
	$(VENV)/cross-check/bin/python docs/formal/compare.py

# limits, ours and others in one run, into docs/benchmarks.*; the machine should have nothing else to do
bench: $(VENV)/bench/.ready
	$(VENV)/bench/bin/python -m bench --write

# the same in a few minutes, only printed
bench-quick: $(VENV)/bench/.ready
	$(VENV)/bench/bin/python -m bench --quick

# what needs packages that the tests do without has an environment of its own, named after its dependency group
$(VENV)/%/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)/$*
	$(VENV)/$*/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)/$*/bin/python -m pip install --quiet --editable . --group $*
	touch $@

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or newer; '$(PYTHON)' is not. Name one: make PYTHON=python3.13 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'  # the first with --group
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@
