# Each target sets up what it needs first; the second time that costs nothing.
.DEFAULT_GOAL := help
.PHONY: help demo up test check lint audit bench messages chaos hostile fuzz clean setup setup-dev

# The first Python that is new enough; if there is none, the set-up says so.
PYTHON ?= $(or $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done),python3)
BIN := .venv/bin

# Where data sets, runs and the database live. Nothing outside this folder is written.
export TUNEDECK_DATA_DIR ?= $(CURDIR)/.tunedeck
# Byte-code halves the time every process takes to start.
unexport PYTHONDONTWRITEBYTECODE

# Tests: two processes of two threads each on two cores are twenty times slower than of one.
TEST_ENV := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_TELEMETRY=1
# Tests run side by side; JOBS=1 shows them one by one.
JOBS ?= 2
# In CI nothing may be skipped.
TEST_PLUGINS := $(if $(CI),-p tests.no_skips)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

demo: setup ## fine-tune a small model on the sample set and watch it (EXIT=1 ends when it is done)
	@$(BIN)/tunedeck demo $(if $(EXIT),--exit)

up: setup ## start the dashboard
	@$(BIN)/tunedeck up

test: setup-dev ## every test (ARGS="-k name" for some)
	@sh scripts/test_needs.sh
	@$(TEST_ENV) $(BIN)/python -m pytest $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist worksteal) $(TEST_PLUGINS) $(ARGS)

check: lint audit test ## what CI runs: linters, types, import rules, advisories, every test

lint: setup-dev ## linters, types and import rules alone
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/djlint templates --lint --quiet
	@$(BIN)/lint-imports --no-logo
	@echo "Linters, types and import rules: clean."

messages: setup-dev ## bring the translations up to date with the code, and list what has none
	@$(BIN)/python scripts/messages.py --missing

audit: setup-dev ## look the pinned packages up among published advisories; says so where they can't be reached
	@$(BIN)/python scripts/audit.py

bench: setup-dev ## measure the budgets (ARGS="name" for one)
	@$(BIN)/python -m benchmarks $(ARGS)

chaos: setup-dev ## kill and freeze workers, trainers and databases (RUNS=200 SEED=0, resumable)
	@$(TEST_ENV) $(BIN)/python -m tests.chaos $(or $(RUNS),200) $(or $(SEED),0)

hostile: setup-dev ## generated requests against a running server (RUNS=100000 SEED=0, resumable)
	@$(TEST_ENV) $(BIN)/python -m tests.hostile $(or $(RUNS),100000) $(or $(SEED),0)

fuzz: setup-dev ## generated files through the intake (RUNS=100000 SEED=0, resumable)
	@$(TEST_ENV) $(BIN)/python -m tests.fuzz $(or $(RUNS),100000) $(or $(SEED),0)

clean: ## remove the environment and caches; data in .tunedeck stays
	@rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist unsloth_compiled_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@$(PYTHON) scripts/bootstrap.py $(if $(UNSLOTH),--unsloth)

# The tests run the real Unsloth code on the CPU.
setup-dev:
	@$(PYTHON) scripts/bootstrap.py --dev --unsloth
