# SPDX-License-Identifier: GPL-3.0-or-later
# The commands of the project. Each prints the ordinary command that it runs.
#
#   make migrate    from a fresh clone: lab up, seed, boot, migrate
#   make test       everything that CI runs
#   make help       the rest

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
COLLECTION := .ansible/collections/ansible_collections/apiary/propolis
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONDONTWRITEBYTECODE :=
# Everything that Ansible writes stays here, also where the home directory cannot be written.
migrate status console teardown: export ANSIBLE_HOME := $(CURDIR)/.ansible
migrate status console teardown: export ANSIBLE_REMOTE_TMP := $(CURDIR)/.ansible/tmp
SETTINGS := $(if $(API),API=$(API)) $(if $(IMAGE),IMAGE='$(IMAGE)')
PLAY := tests/say $(if $(strip $(SETTINGS)),env $(SETTINGS)) ansible-playbook -i inventories/lab
# Said also after a second Ctrl-C, of which make dies at once and the play with 130 in the place of 99: hence the trap.
INTERRUPTED := "Interrupted. The same command goes on from what is there; make status shows it, make teardown removes it."
LABS := $(or $(API),$(if $(LAB_ROOT),today,$(notdir $(wildcard .lab/*))))

.PHONY: help venv venv-test migrate status console teardown test bench fire storm clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 14

migrate: venv ## lab up, seed, boot vm0 on alpha, migrate it to beta (IMAGE=/path/any.raw, API=2023-01)
	@trap : INT; $(PLAY) playbooks/migrate.yml $(ARGS) || \
	  { code=$$?; [[ ! $$code =~ ^(99|130)$$ ]] || echo $(INTERRUPTED) >&2; exit $$code; }
	@echo "What next: make status, make console, make teardown"

status: venv ## where every instance of the lab runs, at which generations
	@$(PLAY) playbooks/status.yml $(ARGS)

console: venv ## the last lines of vm0's console, wherever it runs (INSTANCE=name for another one)
	@$(PLAY) playbooks/console.yml -e instance=$(or $(INSTANCE),vm0) $(ARGS)

teardown: $(if $(LABS),venv) ## stop and remove everything the lab made, in every API
	@for lab in $(LABS); do \
	  tests/say env API=$$lab ansible-playbook -i inventories/lab playbooks/lab_down.yml $(ARGS) || exit; \
	done
	@$(if $(LABS),,echo "There is no lab here: nothing to tear down.")

test: venv-test ## every gate, with its time
	@tests/gates $(GATES)

bench: venv ## figures of one run, as ratios: plays ÷ bare commands, imports ÷ dd, the lab's storage ÷ plain files
	@tests/say python tests/bench.py $(ARGS)

N ?= 100000
fire: venv-test ## N numbers from one ledger while ten processes are killed and disks fail (N=100000)
	@FIRE=$(N) tests/say python -m pytest tests/unit/module_utils/crucible/test_ledger_fire.py -q

storm: venv-test ## N moves in storms drawn by chance, another seed each time (N=50, STORM_SEED=… repeats a run)
	@STORM_SEED=$${STORM_SEED:-$$RANDOM} STORMS=$(if $(filter command line,$(origin N)),$(N),50) tests/gates storms

clean: ## remove what the commands made here (not a running lab: `make teardown` first)
	@if compgen -G '.lab/*/hosts' >/dev/null; then echo "There is a lab in .lab; run 'make teardown' first." >&2; exit 1; fi
	rm -rf .venv .venv-* .build .cache .lab .ansible .mypy_cache .ruff_cache .pytest_cache .hypothesis

venv: $(VENV)/.ready $(COLLECTION) ## the virtual environment alone, for commands of your own
venv-test: $(VENV)/.ready-test $(COLLECTION)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found %s at %s. Set PYTHON=/path/to/python3." % (sys.version.split()[0], sys.executable))'
	@tests/say $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# Python compiles what is used when it is used: pip need not compile all that it installs.
$(VENV)/.ready: requirements.txt | $(VENV)/bin/python
	@tests/say $(VENV)/bin/python -m pip install --disable-pip-version-check --no-input --no-compile -r requirements.txt
	@touch $@

$(VENV)/.ready-test: tests/requirements.txt requirements.txt | $(VENV)/bin/python
	@tests/say $(VENV)/bin/python -m pip install --disable-pip-version-check --no-input --no-compile -r tests/requirements.txt
	@touch $@ $(VENV)/.ready

# Playbooks name roles and modules by their full names: a link makes this directory findable as the collection.
$(COLLECTION):
	@mkdir -p $(dir $@)
	@ln -sfn ../../../.. $@
