# Each target makes .venv itself when it is missing or older than what it is made of.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests, a file at a time; each of them loads torch.
WORKERS ?= logical
PYTEST = $(RUN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile
export TOKENIZERS_PARALLELISM := true
export HF_HUB_OFFLINE := 1

.PHONY: demo test test-all lint format bench bench-full clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

demo: $(STAMP)
	$(RUN)/embedft demo --force

test: $(STAMP)
	$(PYTEST) -m 'not slow'

test-all: $(STAMP)
	$(PYTEST)

lint: $(STAMP)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: $(STAMP)
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

# At a size meant to end in about ten minutes; prints, and leaves the stored results alone.
bench: $(STAMP)
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(RUN)/python benchmarks/start.py --rounds 3 --dry
	$(RUN)/python benchmarks/encode.py --rounds 2 --texts 320 --dry
	$(RUN)/python benchmarks/encode.py --model minilm --rounds 2 --texts 320 --set docstrings --dry
	$(RUN)/python benchmarks/encode.py --model base --rounds 1 --texts 96 --set docstrings --dry
	$(RUN)/python benchmarks/train.py --rounds 1 --no-memory --dry
	$(RUN)/python benchmarks/long.py --rounds 1 --dry
	$(RUN)/python benchmarks/data.py --rounds 1 --rows 20000 --dry
	$(RUN)/python benchmarks/mine.py --rounds 1 --rows 20000 --vectors clustered --dry
	$(RUN)/python benchmarks/metrics.py --queries 1000 --documents 50000 --rounds 3 --evaluations 1 --dry

# More than an hour; writes benchmarks/results/.
bench-full: $(STAMP)
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(RUN)/python benchmarks/start.py
	$(RUN)/python benchmarks/encode.py
	$(RUN)/python benchmarks/encode.py --model minilm
	$(RUN)/python benchmarks/encode.py --model base --texts 640
	$(RUN)/python benchmarks/train.py
	$(RUN)/python benchmarks/train.py --cached
	$(RUN)/python benchmarks/long.py
	$(RUN)/python benchmarks/data.py --million
	$(RUN)/python benchmarks/mine.py
	$(RUN)/python benchmarks/metrics.py

clean:
	rm -rf $(VENV) build dist embedft-demo
