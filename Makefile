# Everything a fresh machine needs: `make test`, `make lint` and `make demo` do their own set-up,
# once, and again only when what it was made from changes.
SHELL := bash
.DEFAULT_GOAL := help

ifndef PYTHON3
PYTHON3 := $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done || echo python3)
endif
PYTHON := .venv/bin/python
PREPARE := @PYTHONPATH=tests $(PYTHON3) -m prepare
PROTO := operator/tenantconfig/watch/v1/watch.proto

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: setup
setup: ## Virtual environment, control plane, DynamoDB Local and Node packages, side by side
	$(PREPARE)

.PHONY: test
test: setup ## All tests; T=PATH for some, PYTEST_ARGS=… for pytest
	$(PYTHON) -m pytest $(PYTEST_ARGS) $(T)

.PHONY: lint
lint: ## ruff, mypy in strict mode, import contracts, the proto, the Dockerfile, the templates
	$(PREPARE) python
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	PYTHONPATH=tests $(PYTHON) -m prepare.proto --check
	.venv/bin/hadolint Dockerfile
	.venv/bin/cfn-lint manifests/aws/*.yaml

.PHONY: format
format: ## Rewrite the Python sources as lint wants them
	$(PREPARE) python
	$(PYTHON) -m ruff check --fix --exit-zero
	$(PYTHON) -m ruff format

.PHONY: proto
proto: ## Regenerate what is generated from watch.proto
	$(PREPARE) python
	PYTHONPATH=tests $(PYTHON) -m prepare.proto

.PHONY: pin
pin: ## Pin the dependencies anew (needs uv)
	PYTHONPATH=tests $(PYTHON3) -m prepare.pins

.PHONY: lambda
lambda: ## build/refresh-function.zip, for manifests/aws/template.yaml
	PYTHONPATH=tests $(PYTHON3) -m prepare.function

.PHONY: demo
demo: setup ## The main job before your eyes; KEEP=1 leaves it running
	@PYTHONPATH=tests KEEP=$(KEEP) $(PYTHON) examples/demo.py

.PHONY: demo-stop
demo-stop: ## End what KEEP=1 left running
	@PYTHONPATH=tests $(PYTHON) examples/demo.py --stop

.PHONY: clean
clean: ## Remove what was made here; the cache outside the tree stays
	rm -rf build .venv .cache .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf operator/*.egg-info
