# Each target is one readable command; `make help` lists them.
PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup run test lint lock

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup:  ## install everything this needs (system packages, .venv, Horovod); repeats in under a second
	ci/bootstrap.sh

run: setup  ## the whole benchmark, small, on this machine: data, training, verdicts, figures
	@status=0; $(PYTHON) -m reframe_tests --site local --tag smoke || status=$$?; \
	[ $$status = 2 ] || $(PYTHON) -m plots figures --results results/reframe --out results/figures || [ $$status != 0 ] || status=1; \
	exit $$status

lint: setup  ## ruff: lint and format
	.venv/bin/ruff check . && .venv/bin/ruff format --check .

test: setup lint  ## everything that can be tested here: lint, unit tests, real MPI ranks, ReFrame
	.venv/bin/python -m pytest

lock:  ## make requirements.lock anew from requirements.in (h5py stays Debian's: a pip-installed one hides the parallel build)
	uv pip compile requirements.in --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	    --no-emit-package h5py --no-annotate --no-header --output-file requirements.lock
