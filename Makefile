# Each target is one readable command; `make help` lists them.
PYTHON := .venv/bin/python
IMAGES := cpu
IMAGE_TESTS := test
CLUSTER_TESTS := not smoke

.DEFAULT_GOAL := help
.PHONY: help setup attack run cluster test-cluster test-site report gallery test lint lock apptainer images test-images

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup:  ## install everything this needs (system packages, .venv, Horovod); repeats in under a second
	ci/bootstrap.sh

run: setup  ## the whole benchmark, small, on this machine: data, training, verdicts, report with figures
	@$(PYTHON) -m reframe_tests --site local --tag smoke

report: setup  ## after make run: what changed over time, and the acceptance report of this machine (results/reframe/report.html)
	@$(PYTHON) -m plots history --results results/reframe --out results/history; \
	$(PYTHON) -m plots report --results results/reframe --out results/reframe/report.html

GALLERY := learning_curves f1_per_class samples batch_study

gallery: setup  ## redraw the pictures of plots/gallery from the example results there
	$(PYTHON) -m plots figures --results plots/gallery/results --out results/gallery
	for name in $(GALLERY); do cp results/gallery/$$name.png results/gallery/$$name.csv plots/gallery/; done

CHECKS := --tag acceptance

cluster: setup  ## the whole suite on a real Slurm of 24 + 24 pretended nodes; a part of it: make cluster CHECKS="--tag nightly"
	ci/virtual_cluster/cluster.sh run $(PYTHON) -m reframe_tests --site virtual --results results/virtual $(CHECKS)

test-cluster: setup  ## what needs a real Slurm: the whole suite, alarms, a chain of jobs (installs Slurm and MariaDB; CLUSTER_TESTS="not whole": a shorter sweep)
	$(PYTHON) -m pytest -m cluster -k "$(CLUSTER_TESTS)" tests/test_alarms.py tests/reframe_tests

test-site: setup images  ## a stranger's site on a real Slurm of 2 + 2 nodes, in the image cpu: site add, a nightly run, calibrate, a red night, a soak
	$(PYTHON) -m pytest -m site tests/reframe_tests/test_site.py

lint: setup  ## ruff: lint and format
	.venv/bin/ruff check . && .venv/bin/ruff format --check .

test: setup lint  ## everything that can be tested here: lint, unit tests, real MPI ranks, ReFrame
	.venv/bin/python -m pytest --ignore tests/learn --ignore tests/benchmarks --ignore tests/prepare/test_superres.py
	.venv/bin/python -m pytest tests/benchmarks tests/learn tests/prepare/test_superres.py  # TensorFlow in the process

attack: setup  ## spoil inputs at random and count what the programs do with them (docs/reliability.md)
	$(PYTHON) -m tests.attack --cases 2000 --seed 1

apptainer:
	@apptainer --version >/dev/null 2>&1 || ci/install-apptainer.sh

images: apptainer  ## build the container images: make images IMAGES="cpu v100 latest k80" (default: cpu)
	for name in $(IMAGES); do containers/build.sh $$name || exit $$?; done

test-images: setup apptainer  ## build the images of IMAGES and test them from inside: two ranks, training, preflight, signature (IMAGE_TESTS=smoke: a part)
	BIGEARTH_IMAGES="$(IMAGES)" $(PYTHON) -m pytest -m apptainer -k "$(IMAGE_TESTS)" tests/containers

UV_COMPILE := uv pip compile --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-package h5py --no-annotate --no-header

lock:  ## make every lock file anew from its .in file (h5py stays Debian's: a pip-installed one hides the parallel build)
	$(UV_COMPILE) --python-version 3.11 requirements.in --output-file requirements.lock
	uv pip compile --universal --python-version 3.10 --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
	    pyproject.toml --extra docs --output-file constraints.txt
	$(UV_COMPILE) --python-version 3.11 containers/latest.in --output-file containers/latest.lock
	$(UV_COMPILE) --python-version 3.9 containers/k80.in --output-file containers/k80.lock
	$(UV_COMPILE) --python-version 3.11 containers/v100.in --constraint requirements.lock --quiet \
	    | awk '/^[a-z]/ { keep = /^(tensorflow|nvidia-[a-z0-9-]+)==/ } keep' >containers/v100.lock
