# Each target makes .venv itself when it is missing or older than what it is made of.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed
export TOKENIZERS_PARALLELISM := true
export HF_HUB_OFFLINE := 1

.PHONY: demo test test-all lint format bench clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

demo: $(STAMP)
	$(RUN)/embedft demo --force

test: $(STAMP)
	$(RUN)/python -m pytest -m 'not slow'

test-all: $(STAMP)
	$(RUN)/python -m pytest

lint: $(STAMP)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: $(STAMP)
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

bench: $(STAMP)
	$(RUN)/python benchmarks/train.py

clean:
	rm -rf $(VENV) build dist embedft-demo
