# Nothing is presumed but Python 3.11, pip and make.

PYTHON  ?= $(shell command -v python3.11 || command -v python3)
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := services kernels loadgen tools tests $(wildcard benchmarks training)
ARGS    ?=

.DEFAULT_GOAL := help
.PHONY: help setup serve test test-unit format proto chart lock bench bench-epd simulate headlines calibrate metrics dashboards
.PHONY: train-builtin clean
.PHONY: check check-style check-types check-imports check-sizes check-proto check-metrics check-dashboards check-chart

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Penstock needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	    $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }

# Stamps: pip runs only when what is to be installed has changed.
$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Penstock into $(VENV) (once; takes a few minutes)"
	$(PIP) -e '.[all]'
	@touch $@

$(VENV)/.setup: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Penstock and its tools into $(VENV) (once; takes a few minutes)"
	$(PIP) -e '.[all,dev]'
	@touch $@ $(VENV)/.serve

setup: $(VENV)/.setup ## install everything, tools included, into .venv

serve: $(VENV)/.serve ## run the whole system here; ARGS="--prefill 2 --port 9000" and the like
	@exec $(BIN)/penstock up $(ARGS)

test: setup ## all tests; ARGS="-k name" and the like
	$(BIN)/python -m pytest $(ARGS)

test-unit: setup ## the tests that take seconds
	$(BIN)/python -m pytest tests/unit $(ARGS)

check: check-style check-types check-imports check-sizes check-proto check-metrics check-dashboards check-chart ## style, types, import directions, sizes, freshness of generated code

check-style: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

check-types: setup
	$(BIN)/mypy $(SOURCES)

check-imports: setup
	$(BIN)/lint-imports --no-logo

check-sizes: setup
	$(BIN)/python tools/house_rules.py $(SOURCES)

check-proto: setup
	$(BIN)/python tools/build_proto.py --check

check-metrics: setup
	$(BIN)/python tools/metrics_table.py --check

check-dashboards: setup
	$(BIN)/python -m tools.build_dashboards --check

check-chart: setup
	$(BIN)/python tools/build_chart.py --check

format: setup ## let ruff put the code in order
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

dashboards: setup ## write deploy/grafana from tools/dashboards
	$(BIN)/python -m tools.build_dashboards

metrics: setup ## write docs/metrics.md from the metrics that the code declares
	$(BIN)/python tools/metrics_table.py

proto: setup ## generate services/penstock/wire/v1 from proto/
	$(BIN)/python tools/build_proto.py

chart: setup ## write what the chart takes from the code: schema of settings, table of values, rules, dashboards
	$(BIN)/python tools/build_chart.py

LOCK := $(BIN)/uv pip compile pyproject.toml --extra scheduler --extra engine --extra ucx --extra kernels --quiet \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header --no-annotate

lock: setup ## pin what the images install; TORCH_WHEELS=URL: where torch's CPU wheels are
	@mkdir -p build
	$(LOCK) --constraint deploy/torch-cpu.txt --find-links "$(TORCH_WHEELS)" --output-file deploy/requirements.lock
	sed -n -E 's/^([a-z].*==[^ ]*).*/\1/p' deploy/requirements.lock | grep -v -E '^(torch|triton|nvidia-|cuda-)' \
	    | cat deploy/torch-cuda.txt - > build/shared.txt
	$(LOCK) --constraint build/shared.txt --output-file deploy/requirements-cuda.lock

bench: setup ## speed of engine, transfer and gateway, beside what bounds them
	$(BIN)/python -m benchmarks $(ARGS)

bench-epd: setup ## first tokens of requests with images, with and without encoders of their own; takes twenty minutes
	$(BIN)/python -m benchmarks.epd $(ARGS)

simulate: setup ## a cluster in virtual time; ARGS="scenarios/colocated.yaml --svg plot.svg" and the like
	$(BIN)/penstock simulate $(or $(ARGS),scenarios/disaggregated.yaml)

headlines: setup ## the papers' claims, measured again; ARGS="--only distserve --svg headlines.svg" and the like
	$(BIN)/python -m benchmarks.headlines $(ARGS)

calibrate: setup ## the simulator beside the live system on the same requests, mock and torch engine; takes minutes
	$(BIN)/python -m benchmarks.calibrate $(ARGS)

train-builtin: setup ## train the built-in model into build/builtin; ARGS="--minutes 90 --seed 0" and the like
	$(BIN)/python -m training.builtin --out build/builtin $(ARGS)

clean: ## remove what can be made again, .venv included
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
