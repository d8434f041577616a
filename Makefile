# Each target sets up what it needs by itself. Needs Python 3.11 with pip and venv, nothing else.
PYTHON ?= python3.11
BIN := .venv/bin
DEMO_RUN ?= demo-run

.PHONY: install demo test check lint format lock clean

install: .venv/installed

# The lock pins every package, the build backend too, so that nothing is resolved here.
.venv/installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "medseg needs Python 3.11; give its path as 'make PYTHON=...'."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# A phantom study through the Prefect flow, on Prefect's embedded server.
demo: install
	rm -rf $(DEMO_RUN)
	$(BIN)/python -m pipelines demo $(DEMO_RUN)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "not slow and not realdata"

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Resolve again: torch first, because only the exact pin takes the build without CUDA, and the fastapi
# that Prefect's server was tested with. What OpenVINO brings to count its users over the network stays
# out (docs/decisions/0021).
lock:
	rm -rf build/lock-venv && $(PYTHON) -m venv build/lock-venv
	build/lock-venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 fastapi==0.141.1 hatchling editables
	build/lock-venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	{ echo "# Every package that medseg runs, builds and is tested with. Made by 'make lock'."; \
	  build/lock-venv/bin/python -m pip freeze --exclude-editable --exclude openvino-telemetry | sed -E 's/\+cpu$$//'; } > requirements.lock

clean:
	rm -rf .venv build $(DEMO_RUN) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
