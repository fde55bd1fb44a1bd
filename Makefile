# The two commands of the README are `make demo` and `make test`; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal # a process a core; PYTEST="python -m pytest" for one

.PHONY: help setup demo test test-long test-models lint docs conformance bench overheads screenshots clean

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(VENV)/.ready ## Make the virtual environment (done once, and again when pyproject.toml changes)

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[all]"
	touch $@

demo: setup ## Compile and run the example on real digits: CPU, a simulated Atlas, OpenVINO
	$(BIN)/python -m landbridge demo

lint: setup ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests

test: lint ## Run the linters and the tests
	$(PYTEST) -m "not long"

test-long: lint ## Run everything, the long tests too
	$(PYTEST)

test-models: lint ## Export networks by PyTorch, compile and compare them, keep them for bench; PyTorch goes into an environment of its own
	test -d $(VENV)-torch || $(PYTHON) -m venv $(VENV)-torch
	$(VENV)-torch/bin/python -m pip install --quiet --editable ".[all,torch]"
	$(VENV)-torch/bin/python -m pytest tests/models
	PYTHONPATH=src:tests $(VENV)-torch/bin/python -m models.keep build/models

docs: setup ## Build the documentation as a site: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

conformance: setup ## Run onnx's own tests through compiler and runtime; writes docs/conformance.md
	PYTHONPATH=src:tests $(BIN)/python -m conformance

bench: setup ## Compare host code with ONNX Runtime, OpenVINO and NumPy, and measure compile time; writes docs/performance.md and build/bench/bench.html
	PYTHONPATH=src:benchmarks $(BIN)/python -m host --summary docs/performance.md $(BENCH)
	$(BIN)/python benchmarks/compile_time.py

overheads: setup ## Measure loads, overheads, sessions and the demo
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/overheads.py
	$(BIN)/python benchmarks/sessions.py

screenshots: setup ## Write the pictures of pages in docs/images; needs Chromium and its driver
	PYTHONPATH=src:tests $(BIN)/python -m support.screenshots

clean: ## Remove what the other targets made
	rm -rf $(VENV) $(VENV)-torch build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
