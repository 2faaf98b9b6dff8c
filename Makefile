# Every habit is one command, and .ci/run runs the same ones.
# On a fresh machine with Python 3.11, 3.12 or 3.13, `make music` and
# `make test` need no preparation. They install packages in .venv.

# The first suitable Python; PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))

# The backend that `make music` installs and uses: jax, torch or tensorflow.
BACKEND ?= jax
# The backends of `make test`. Only the first one runs the tests that are marked
# `one_backend`.
BACKENDS ?= torch jax tensorflow
# The number of test processes, and further options for pytest.
WORKERS ?= 2
PYTEST_FLAGS ?=

# The pages and the tests of the built site that `make docs-test` runs.
PAGES ?= README.md docs tests/docs_site.py
# Compile without optimization, because the tests compile longer than they run.
# Each process computes on one thread: threads of small operations mostly wait.
# Without XLA's emitters of fusions, it compiles in half the time.
QUICK = OMP_NUM_THREADS=1 JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
	XLA_FLAGS="--xla_backend_optimization_level=0 \
		--xla_cpu_use_fusion_emitters=false $(XLA_FLAGS)" \
	JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.cache/jax \
	JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0

# Length and seed of the piece of `make music`; another seed gives another piece.
DURATION ?= 40
SEED ?= 18

# Full float32 precision in matrix products, and free memory for the processes
# that tests start.
AS_ON_A_CPU = JAX_DEFAULT_MATMUL_PRECISION=highest \
	XLA_PYTHON_CLIENT_PREALLOCATE=false

HAS_GPU = import keras, sys; from keras_pianogen import devices; \
	keras.ops.zeros(()); memory = devices.device_memory(); \
	sys.exit("No GPU is seen by " + keras.config.backend() + "." \
	if memory is None else 0)

BIN = .venv/bin
# Python compiles a file when it first imports it: a third of those installed.
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet \
	--no-compile
PINS = pyproject.toml constraints.txt
# TensorFlow and KerasHub print fewer messages when they start.
export TF_CPP_MIN_LOG_LEVEL ?= 2
# PyTorch's threads spin for a while, then sleep, when they wait for a busy core.
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 20000
# The tests start many processes: none of them compiles the package's files anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help music test check format docs docs-test bench gpu-check fuzz clean
.DEFAULT_GOAL = help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' \
		$(MAKEFILE_LIST)

music: .venv/.made-music-$(BACKEND) ## Write a new piece: music/piece.mid, .png and .wav
	@mkdir -p music
	@KERAS_BACKEND=$(BACKEND) $(BIN)/pianogen generate --seconds $(DURATION) \
		--seed $(SEED) --out music/piece.mid --picture music/piece.png \
		--audio music/piece.wav

test: .venv/.made-dev ## Run the tests on TensorFlow, JAX and PyTorch
	@set -e; skipped=; for backend in $(BACKENDS); do \
		echo "== $$backend"; \
		$(QUICK) KERAS_BACKEND=$$backend $(BIN)/python -m pytest \
			-n $(WORKERS) --dist worksteal $${skipped:+-m "$$skipped"} \
			$(PYTEST_FLAGS); \
		skipped="not one_backend"; \
	done

check: .venv/.made-dev ## Check style, imports between files, and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/mypy

format: .venv/.made-dev ## Format the code and sort its imports
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/.made-dev ## Build the documentation and its music in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-test: docs ## Run the code blocks of README.md and docs/ (PAGES=... chooses)
	$(QUICK) KERAS_BACKEND=jax $(BIN)/python -m pytest \
		-p tests.docs_blocks -n $(WORKERS) --dist loadfile $(PAGES) $(PYTEST_FLAGS)

bench: .venv/.made-dev ## Measure speed (BACKEND=jax, torch or tensorflow)
	KERAS_BACKEND=$(BACKEND) $(BIN)/python -m pytest tests/bench_*.py \
		--benchmark-quiet $(PYTEST_FLAGS)

# This needs an environment of your own with JAX and PyTorch for CUDA, and with
# `pip install -e '.[test]'`, because .venv holds their builds for CPUs.
gpu-check: ## Run tests and benchmarks on a GPU (PYTHON=python3, with CUDA)
	@set -e; for backend in jax torch; do \
		echo "== $$backend"; \
		KERAS_BACKEND=$$backend $(PYTHON) -c '$(HAS_GPU)'; \
		$(AS_ON_A_CPU) KERAS_BACKEND=$$backend $(PYTHON) -m pytest \
			-m "not one_backend" $(PYTEST_FLAGS); \
		KERAS_BACKEND=$$backend $(PYTHON) -m pytest tests/bench_*.py \
			--benchmark-quiet; \
	done

fuzz: .venv/.made-dev ## Read 100,000 damaged MIDI files
	$(BIN)/python tests/fuzz_midi.py --mutations 100000

clean: ## Remove installed and built files; music/ stays
	rm -rf .venv build dist site *.egg-info
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	rm -rf .hypothesis .benchmarks .cache
	find keras_pianogen tests -name __pycache__ -prune -exec rm -r {} +

# The empty files .venv/.made-* mark finished installations, so that make installs
# only once, and again when the dependencies change.
.venv/.made:
	@$(if $(PYTHON),$(PYTHON),false) -c '$(SUPPORTED)' 2>/dev/null || { \
		echo "keras_pianogen needs Python 3.11, 3.12 or 3.13." >&2; \
		echo "Found: $$($(or $(PYTHON),python3) --version 2>&1)." >&2; \
		echo "Choose a Python: make PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.made-music-%: $(PINS) | .venv/.made
	@echo "Installing keras_pianogen with $*. This takes about 3 GB and a few minutes."
	$(PIP) -c constraints.txt -e '.[$(filter-out tensorflow,$*)]'
	@touch $@

.venv/.made-dev: $(PINS) | .venv/.made
	@echo "Installing every backend and the tools. This takes some minutes."
	$(PIP) -c constraints.txt -e '.[docs,jax,test,torch]'
	@touch $@
