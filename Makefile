# Everything that a user or developer types. `make help` lists the targets.
PYTHON ?= python3
RUNTIME ?= process
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -q
# More processes than cores: most tests wait most of the time. One test, as in PYTEST_ARGS=tests/test_app.py, needs none.
SIDE_BY_SIDE := -n $(shell expr 2 \* $$(nproc))

# Some machines switch off what Python keeps of compiled modules; here it saves a second for every daemon of a test.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test types tests check unit lock bench bench-proxy bench-compare bench-registries dist soak test-install clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: requirements.lock pyproject.toml
	@tools/venv.sh "$(PYTHON)" $(VENV) run

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@tools/venv.sh "$(PYTHON)" $(VENV) dev

demo: $(VENV)/.run ## see it work: a model, a job, an edit (RUNTIME=docker for containers)
	@$(BIN)/orchd demo --runtime $(RUNTIME)

test: $(VENV)/.dev ## linters, types, import contracts and all tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory -j2 types tests

types: $(VENV)/.dev
	@$(BIN)/mypy

tests: $(VENV)/.dev
	@$(if $(PYTEST_ARGS),$(PYTEST) $(PYTEST_ARGS),tools/tests.sh $(BIN)/python $(SIDE_BY_SIDE))

check: $(VENV)/.dev ## only linters, types and import contracts; formats the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

soak: $(VENV)/.dev ## the long searches in full (make test goes a quarter of the way)
	@ORCHD_TEST_SOAK=1 $(PYTEST) $(SIDE_BY_SIDE) -m soak $(PYTEST_ARGS)

unit: $(VENV)/.dev ## only the fast tests
	@ORCHD_TEST_SOAK=0.05 $(PYTEST) $(SIDE_BY_SIDE) -m "not slow and not docker" $(PYTEST_ARGS)

test-install: $(VENV)/.dev ## what the README has people paste, on a bare Debian with systemd; minutes, needs root
	@$(BIN)/python -m tests.install

bench: $(VENV)/.dev ## figures against direct calls to the runner
	@$(BIN)/python -m tests.bench
	@$(BIN)/python -m tests.bench.pages
	@$(BIN)/python -m tests.bench.commands
	@$(BIN)/python -m tests.bench.hooks
	@$(BIN)/python -m tests.bench.live_runner

bench-proxy: $(VENV)/.dev ## figures against nginx and HAProxy; ten minutes
	@$(BIN)/python -m tests.bench.proxy $(BENCH_ARGS)

bench-compare: $(VENV)/.dev ## figures of the data plane of two trees: BENCH_ARGS="OLD NEW"
	@$(BIN)/python -m tests.bench.compare $(BENCH_ARGS)

bench-registries: $(VENV)/.dev ## how fast the node learns of a change, and what telling it costs
	@$(BIN)/python -m tests.bench.registries $(BENCH_ARGS)

dist: $(VENV)/.dev ## the wheel and the sdist, in dist/
	@rm -rf dist
	@$(BIN)/python tools/dist.py dist

lock: $(VENV)/.dev ## renew the lock files after an edit of pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 pyproject.toml --group build -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 pyproject.toml --group build --group dev -o requirements-dev.lock

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info build dist
