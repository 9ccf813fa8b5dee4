# Two commands do everything on a machine that has only Python and make: `make demo`, `make test`.
# Each makes the virtual environment .venv and installs what it needs into it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PROJECT := pyproject.toml setup.py
# A path file beside the editable install: without it Python would take this folder itself for the
# package `minigrad` in a script that lies next to it.
PATHS := $(BIN)/python -c "import site, pathlib, os; \
	pathlib.Path(site.getsitepackages()[0], 'minigrad-sources.pth').write_text( \
	os.getcwd() + os.linesep + os.path.join(os.getcwd(), 'kernels') + os.linesep)"

.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo "make demo    train a convolutional network, check its gradients, write build/demo/report.html"
	@echo "make test    run the whole test suite"
	@echo "make mutate  break every gradient rule on purpose: does a test notice? (some minutes)"
	@echo "make lint    style and types"
	@echo "make lint-cuda   the machine code of the CUDA kernels; needs no GPU"
	@echo "make bench   measure against PyTorch, JAX, HIPS autograd and MyGrad, write benchmarks/results/"
	@echo "make gpu     the same for CUDA kernels, on a machine with a GPU: tests, then measures"
	@echo "make wheel   build the wheel and try it in a clean environment"
	@echo "make clean   remove what the others made, .venv included"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo-installed: $(BIN)/python $(PROJECT)
	@echo "installing into $(VENV) ..."
	$(PIP) -e ".[data,report]"
	@$(PATHS)
	@touch $@

$(VENV)/all-installed: $(BIN)/python $(PROJECT)
	@echo "installing into $(VENV) ..."
	$(PIP) -e ".[all]"
	@$(PATHS)
	@touch $@ $(VENV)/demo-installed

$(VENV)/peers-installed: $(VENV)/all-installed
	$(PIP) -e ".[peers]"
	@touch $@

$(VENV)/cuda-lint-installed: $(VENV)/all-installed
	$(PIP) -e ".[cuda-lint]"
	@touch $@

.PHONY: demo
demo: $(VENV)/demo-installed
	$(BIN)/minigrad demo

# One BLAS thread in each of the test processes: more would wait for each other.
.PHONY: test
test: $(VENV)/all-installed
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -q

# Every mutant must be killed, or proven to change nothing.
.PHONY: mutate
mutate: $(VENV)/all-installed
	OPENBLAS_NUM_THREADS=1 $(BIN)/minigrad mutate --json build/mutation.json

.PHONY: lint
lint: $(VENV)/all-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What NVIDIA's compiler makes of every kernel, for three architectures. What was compiled is kept.
.PHONY: lint-cuda
lint-cuda: $(VENV)/cuda-lint-installed
	$(BIN)/python -m pytest -n auto -q tests/test_cuda_machine_code.py

.PHONY: bench
bench: $(VENV)/peers-installed
	$(BIN)/python -m benchmarks report --no-readme

# Nothing is installed: it runs with the Python that is there, which has CuPy, NumPy, Numba, pytest
# and hypothesis, and perhaps PyTorch.
.PHONY: gpu
gpu:
	PYTHONPATH=.:kernels $(PYTHON) -m benchmarks.gpu

.PHONY: gpu-bench
gpu-bench:
	PYTHONPATH=.:kernels $(PYTHON) -m benchmarks.gpu --bench

.PHONY: wheel
wheel: $(VENV)/all-installed
	$(BIN)/python tests/check_wheel.py

.PHONY: clean
clean:
	rm -rf $(VENV) build dist *.egg-info kernels/*.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
