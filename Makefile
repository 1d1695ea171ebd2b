# Everything a person needs: make demo, make test. Each sets up .venv first, once.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
FORKING := tests/shell/test_store_crash.py tests/shell/test_node_crash.py
APT    := sudo apt-get install -y python3-venv python3-dev gcc libgmp-dev

.PHONY: help demo test lint types contracts unit slow sim hostile crash soak identity interop upstream lab stateful fuzz bench bench-committee bench-ledger bench-blobs bench-restart bench-libp2p bench-sim learning format wheel clean setup
.DEFAULT_GOAL := help

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

demo: setup ## train a network on a P2P network of 8 processes on this machine
	@$(BIN)/python -m testnet.devnet.demo

# One after the other in this order, whatever -j says, so that pytest's lines are the last.
test: setup ## lint, types, import contracts, and all tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory contracts
	@$(MAKE) --no-print-directory unit

lint: setup ## style, and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## mypy --strict
	@$(BIN)/mypy --strict

contracts: setup ## who may import whom
	@$(BIN)/lint-imports

# Tests that fork have a process of their own: collecting the others loads JAX, which starts threads. The others
# share two processes, a file's tests in one, in order: the long ones on whole networks come early.
unit: setup ## pytest alone
	@$(BIN)/python -m pytest -m "not slow" $(FORKING)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu and not forks"

slow: setup ## the tests that take long
	@$(BIN)/python -m pytest -m "slow and not forks"

sim: setup ## networks drawn by lot, many seeds, with a report of failures: make sim SEEDS=10000 SEED=1
	@$(BIN)/python -m testnet.simulator --chaos --seeds $(or $(SEEDS),1000) --seed $(or $(SEED),1)

hostile: setup ## attacks on a real node, with its defences and without each of them
	@$(BIN)/python -m pytest -s -o log_cli=false tests/functional/test_hostile_remotes.py

crash: setup ## kill -9 at every write point of the store and of a node on it, recoveries too (1 to 4 minutes)
	@$(BIN)/python -m pytest $(FORKING)

soak: setup ## real processes killed every 10 to 60 s, then judged: make soak MINUTES=30
	@$(BIN)/p2pai testnet up --scenario testnet/devnet/soak.toml --directory soak-run \
	  --seed $(or $(SEED),1) --duration $$((60 * $(or $(MINUTES),30))) --report soak.html

identity: setup ## the whole matrix of compilers, instructions and carriers: one digest
	@$(BIN)/python -m pytest -m slow tests/jaxtrain/test_identity.py

interop: setup ## nodes of js-libp2p in our network: installs them from npm (Node.js 20 or newer)
	@command -v npm >/dev/null || { echo "make: interop needs Node.js 20 or newer, with npm" >&2; exit 1; }
	@cd tests/interop && npm ci --ignore-scripts --silent
	@$(BIN)/python -m pytest tests/interop

upstream: setup ## faults of py-libp2p, each tried on the stock library (about 5 minutes)
	@for script in docs/upstream/repro/[0-9]*.py; do \
	  printf '%s ' "$$(basename $$script .py)"; $(BIN)/python $$script || true; done

lab: setup ## nodes behind routers and far apart, in network namespaces (needs root; about 4 minutes)
	@$(BIN)/python -m pytest -m slow tests/testnet/test_nat.py

stateful: setup ## models against the real ledger, fork choice, mempool and store: make stateful EXAMPLES=1000
	@EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/python -m pytest tests/stateful

fuzz: $(VENV)/.fuzz ## bytes of any kind at every door, 60 s each: make fuzz SECONDS=60 DOOR=block
	@$(BIN)/python -m tests.fuzz $(DOOR) --seconds $(or $(SECONDS),60)

bench: $(VENV)/.bench ## time of an iteration and of a replay, against plain training
	@$(BIN)/python benchmarks/training.py

bench-committee: setup ## draws, common keys, threshold signatures, the order of a slot, its certificate
	@$(BIN)/python benchmarks/committee.py
	@$(BIN)/python benchmarks/schulze.py
	@$(BIN)/python benchmarks/certificates.py

bench-ledger: setup ## connecting blocks of transfers and empty ones, against what the primitives alone cost
	@$(BIN)/python -m benchmarks.ledger

bench-blobs: setup ## fetching a blob from one holder and from three, against a bare stream
	@$(BIN)/python benchmarks/blobs.py

bench-restart: setup ## starting a node whose chain has 100,000 blocks
	@$(BIN)/python -m benchmarks.restart

bench-libp2p: setup ## streams and gossip against stock py-libp2p, streams against bare sockets too
	@$(BIN)/python -m benchmarks.libp2p_streams
	@$(BIN)/python -m benchmarks.gossip

bench-sim: setup ## a simulated network: steps a second, against real time, memory for each node
	@$(BIN)/python -m benchmarks.simulator

learning: $(VENV)/.bench ## accuracy on MNIST against training on one machine: make learning DATA=mnist/ (hours)
	@$(BIN)/python benchmarks/learning.py --data $(DATA)

format: setup ## put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

wheel: setup ## build a wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove .venv, caches and what the demonstration and test networks left
	rm -rf $(VENV) demo-run testnet-run soak-run soak.html dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +

setup: $(VENV)/.installed ## install only

# The stamp is newer than pyproject.toml once everything in it is installed.
$(VENV)/.installed: pyproject.toml | $(VENV)/.checked
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing p2pai and what it needs into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@touch $@

# fastecdsa, which libp2p needs, is compiled on installation: without these its error is three screens long.
$(VENV)/.checked:
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON); run: $(APT)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: p2pai needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V); name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: Python's venv module is missing; run: $(APT)" >&2; exit 1; }
	@command -v gcc >/dev/null || { echo "make: there is no C compiler (gcc); run: $(APT)" >&2; exit 1; }
	@echo '#include <Python.h>' | gcc -E -I"$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_paths()["include"])')" - >/dev/null 2>&1 || { \
	  echo "make: Python's C headers (Python.h) are missing; run: $(APT)" >&2; exit 1; }
	@echo '#include <gmp.h>' | gcc -E - >/dev/null 2>&1 || { \
	  echo "make: the headers of the GMP library (gmp.h) are missing; run: $(APT)" >&2; exit 1; }
	@mkdir -p $(VENV)
	@touch $@
