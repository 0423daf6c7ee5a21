# LLM Gateway: every task of the repository. CI (.ci/run) runs the same targets.
# Needs bash, make and Python 3.11 or newer; everything else is installed into $(VENV) and .tools, pinned by hash.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

VENV ?= .venv
ARGS ?=
BENCH ?= full
SOAK_S ?= 600
MUTANTS ?= 0
SEEDS ?= 200
FROM ?= 1000
UPGRADE ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
RUNTIME := $(VENV)/.installed-runtime
TEST := $(VENV)/.installed-test

##@ Try it

.PHONY: help
help: ## Show this page
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile
	@printf '\nVariables: PYTHON=/path/to/python  VENV=%s  ARGS="more arguments for pytest"\n' "$(VENV)"

.PHONY: demo
demo: $(RUNTIME) ## Run a gateway with simulated providers; needs no key
	@$(BIN)/llmgateway demo $(ARGS)

.PHONY: install
install: $(RUNTIME) ## Install the llmgateway command into .venv
	@echo "$(BIN)/llmgateway is ready"

##@ Test

PYTEST := $(BIN)/python -m pytest --no-header

.PHONY: test
test: $(TEST) ## Run the fast tests
	@$(PYTEST) -n 2 -m "not slow and not e2e and not recorded and not soak and not simulation" $(ARGS)

.PHONY: test-slow
test-slow: $(TEST) ## Run the tests that take their time
	@$(PYTEST) -n 2 -m slow $(ARGS)

.PHONY: simulate
simulate: $(TEST) ## Live through SEEDS made-up worlds (200) in virtual time, from seed FROM (1000) on
	@LLMGATEWAY_SIMULATE_SEEDS=$(SEEDS) LLMGATEWAY_SIMULATE_FROM=$(FROM) $(PYTEST) -n 2 tests/simulation -m simulation $(ARGS)

.PHONY: test-recorded
test-recorded: $(TEST) ## Play recorded provider traffic; LLMGATEWAY_RECORDED_DIR adds a folder of recordings
	@$(PYTEST) -n 2 -m recorded $(ARGS)

.PHONY: test-e2e
test-e2e: $(TEST) tools ## Run the installed command and real clients against it
	@PATH="$(CURDIR)/.tools/bin:$$PATH" $(PYTEST) tests/e2e -m e2e $(ARGS)

.PHONY: test-http2
test-http2: $(TEST) tools ## Run what goes through the door once more, over the transport http2
	@LLMGATEWAY__SERVER__TRANSPORT=http2 PATH="$(CURDIR)/.tools/bin:$$PATH" $(PYTEST) -n 2 tests/path tests/faults tests/e2e \
	  -m "not recorded and not soak and not simulation" $(ARGS)

.PHONY: image-check
image-check: $(TEST) ## Run the Dockerfile's steps and what they build, without a container engine
	@$(PYTEST) tests/unit/deploy tests/e2e/test_image.py $(ARGS)

.PHONY: bench
bench: $(TEST) ## Measure; BENCH=short for a quick look
	@$(BIN)/python -m tests.bench --length $(BENCH) $(ARGS)

.PHONY: bench-peers
bench-peers: .peers/litellm/.installed ## Install other gateways (0.8 GB), which bench then measures too

.PHONY: profile
profile: $(TEST) ## Tell which functions take the time; ARGS="--load stream" for another load
	@$(BIN)/python -m tests.bench.hotspots $(ARGS)

.PHONY: mutation
mutation: $(TEST) ## Tell which small faults in breakers, failover and strategies no test notices; MUTANTS=n for a sample
	@$(BIN)/python -m tests.mutation --mutants $(MUTANTS) $(ARGS)

.PHONY: soak
soak: $(TEST) ## Run under load for SOAK_S seconds (600)
	@LLMGATEWAY_SOAK_S=$(SOAK_S) $(PYTEST) -m soak --timeout 0 $(ARGS)

##@ Check

.PHONY: check
check: lint types architecture check-generated protos test ## Run everything that a change must pass, less the long suites

.PHONY: lint
lint: $(TEST) ## Check style and format
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet

.PHONY: types
types: $(TEST) ## Check types, strictly
	@$(BIN)/mypy

.PHONY: architecture
architecture: $(TEST) ## Check which room imports which
	@$(BIN)/lint-imports --no-logo

.PHONY: check-generated
check-generated: $(TEST) ## Check that generated code is what the protos say
	@$(BIN)/python scripts/generate.py --check

.PHONY: protos
protos: $(TEST) ## Check the protos: lint, format, compatibility with the release
	@$(BIN)/buf lint
	@$(BIN)/buf format protos --diff --exit-code
	@scripts/breaking.sh $(BIN)/buf
	@echo "protos are fine"

##@ Change

.PHONY: format
format: $(TEST) ## Format Python and protos, and repair what lint can repair
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format --quiet
	@$(BIN)/buf format protos --write

.PHONY: generate
generate: $(TEST) ## Generate stubs and descriptors from the protos, schema and example of the configuration
	@$(BIN)/python scripts/generate.py
	@$(BIN)/python scripts/generate_config.py

.PHONY: matrix
matrix: $(TEST) ## Write docs/provider-matrix.md and docs/provider-errors.md from what calls show
	@$(BIN)/python -m tests.matrix

.PHONY: release-image
release-image: $(TEST) ## Make the present protos the ones that later changes must not break
	@$(BIN)/buf build protos --exclude-source-info -o protos/released.binpb

.PHONY: lock
lock: .tools/lock/.installed ## Pin all dependencies by hash again; UPGRADE=1 takes newer versions
	@compile() { echo "requirements/$$1.txt"; $(LOCK) "requirements/$$1.in" "$${@:2}" --output-file "requirements/$$1.txt"; }; \
	  compile runtime; \
	  compile test --constraints requirements/runtime.txt; \
	  compile build --constraints requirements/test.txt; \
	  compile lock; \
	  compile go; \
	  compile peers
	@if grep -nE '://|^ *--?(index|extra|find|trusted)' requirements/*.txt; then echo "lock: an address got into the lines above" >&2; exit 1; fi

##@ Tidy up

.PHONY: tools
tools: $(RUNTIME) ## Build grpcurl, grpc-health-probe and h2spec into .tools/bin
	@PYTHON=$(BIN)/python scripts/install-tools.sh

.PHONY: clean
clean: ## Remove everything that make has installed, and all caches
	@rm -rf $(VENV) .tools .peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .results build dist
	@find server clients/python tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------------------------------------
# The environment: one folder, two levels. Once installed, nothing here needs a network.
# ---------------------------------------------------------------------------------------------------------------------

$(BIN)/python:
	@python=$$(scripts/find-python.sh); \
	  echo "creating $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(VENV)

$(RUNTIME): requirements/runtime.txt requirements/build.txt pyproject.toml clients/python/pyproject.toml | $(BIN)/python
	@echo "installing the gateway into $(VENV)"
	@$(PIP) --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) --no-deps --no-build-isolation -e clients/python -e .
	@touch $@

$(TEST): requirements/test.txt $(RUNTIME)
	@echo "installing test tools into $(VENV)"
	@$(PIP) --require-hashes -r requirements/test.txt
	@touch $@

LOCK := UV_PYTHON_DOWNLOADS=never .tools/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-package llmgateway --no-emit-package llmgateway-server $(if $(UPGRADE),--upgrade)

.tools/lock/.installed: requirements/lock.txt
	@python=$$(scripts/find-python.sh); "$$python" -m venv --clear .tools/lock
	@.tools/lock/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	@touch $@

.peers/litellm/.installed: requirements/peers.txt
	@mkdir -p .peers; echo '*' > .peers/.gitignore
	@python=$$(scripts/find-python.sh); "$$python" -m venv --clear .peers/litellm
	@.peers/litellm/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes -r requirements/peers.txt
	@touch $@
