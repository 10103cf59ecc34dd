# The main commands are `make run` and `make test`. Both set everything up first.
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# Without compiled modules, which are kept in .venv, each command and each server compiles all of Prefect again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run stop test long lint bench chaos fuzz docs lock image clean
help:  ## This list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## Create the virtual environment in .venv
$(STAMP): pyproject.toml requirements.lock .ci/setup .ci/install.py .ci/uv.txt
	@VENV=$(VENV) .ci/setup

run: $(STAMP)  ## Run the example pipeline on Prefect; APPROVE=1 approves without asking and stops Prefect at the end
	@APPROVE=$(APPROVE) BIN=$(BIN) examples/run

stop:  ## Stop the Prefect that `make run` left running
	@BIN=$(BIN) examples/run down

test: $(STAMP)  ## Run the tests; FULL=1 also installs and uses Docker, Chromium and sshd
	@BIN=$(BIN) .ci/test $(ARGS)

long: $(STAMP)  ## Run the tests that take long, which `make test` leaves out
	@.ci/services >/dev/null 2>&1 || echo "Redis, HAProxy or mmdebstrap is missing: not all of deploy/ is tested"
	@BIN=$(BIN) FULL=1 .ci/test -m long $(ARGS)

lint: $(STAMP)  ## Run ruff, mypy --strict and the check of the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) $(VENV)/bench/bin/cfn-lint $(VENV)/buildbot/.tried $(VENV)/awscli/bin/aws  ## Run the benchmarks, compared with bare Prefect, Buildbot, tar, cfn-lint and aws; ARGS=--quick takes less time
	@.ci/services >/dev/null 2>&1 || echo "Redis or HAProxy is missing: set-ups of several servers are not measured"
	$(BIN)/python benchmarks/run_all.py --cfn-lint $(VENV)/bench/bin/cfn-lint --buildbot $(VENV)/buildbot/bin/buildbot --aws $(VENV)/awscli/bin/aws $(ARGS)

# cfn-lint, Buildbot and aws are only compared with. They have separate environments, so that their dependencies do not mix with the
# project's. Where Buildbot cannot be installed, its column of the table is empty.
$(VENV)/bench/bin/cfn-lint: $(STAMP)
	$(BIN)/python -m venv $(VENV)/bench
	$(VENV)/bench/bin/pip install --quiet cfn-lint

$(VENV)/awscli/bin/aws: $(STAMP)
	$(BIN)/python -m venv $(VENV)/awscli
	$(VENV)/awscli/bin/pip install --quiet awscli

$(VENV)/buildbot/.tried: $(STAMP)
	$(BIN)/python -m venv $(VENV)/buildbot
	$(VENV)/buildbot/bin/pip install --quiet 'buildbot[bundle]' || echo "Buildbot cannot be installed: not compared"
	touch $@

chaos: $(STAMP)  ## Kill processes at random and crowd the gates, about 25 minutes
	PYTHONPATH=tests/plugin:tests/support:tests/support/jobs $(BIN)/python tests/support/chaos.py $(ARGS)

fuzz: $(STAMP)  ## Search for input files, webhooks and calls of the AWS API that cause a traceback, some minutes
	$(BIN)/python -m pip install --quiet atheris || true  # not for every Python and system
	$(BIN)/python tests/fuzz/fuzz.py $(ARGS)

docs: $(STAMP)  ## Write the documents that are generated from the code
	$(BIN)/python -m prefect_codepipeline.model.validation.reference > docs/validation.md
	cp deployments/work_pools/kubernetes.json deploy/kubernetes/base-job-template.json

lock: $(STAMP)  ## Resolve the newest dependencies, and uv, and write the lock files
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --extra dev --no-header --upgrade \
	  pyproject.toml -o requirements.lock
	echo setuptools | $(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
	  --extra aws --extra kubernetes --extra otel --extra redis --extra s3 -c requirements.lock \
	  pyproject.toml - -o deploy/requirements.lock
	echo uv | $(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --upgrade \
	  - -o .ci/uv.txt

# The version of the image is that of the package.
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= prefect-codepipeline:$(VERSION)
image:  ## Build the container image of all parts; PLATFORMS=linux/amd64,linux/arm64 builds and pushes IMAGE for both
	$(if $(PLATFORMS),docker buildx build --platform $(PLATFORMS) --push,docker build) -f deploy/Dockerfile -t $(IMAGE) .

clean: stop  ## Stop Prefect, and remove everything that make created
	rm -rf $(VENV) .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
