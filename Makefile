# Everything a person or a machine runs here. Needs make and Python 3.11 or newer; the rest is
# installed into .tools (uv, pinned) and .venv (what uv.lock says), once and again when that changes.

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo test check simulate mutants bench docs format lock clean

UV_VERSION := 0.13.9
MUTMUT_VERSION := 3.8.1
TOOLS := .tools/.uv-$(UV_VERSION)
UV := .tools/bin/uv
BIN := .venv/bin
CHECKED := src tests benchmarks docs
# One more than there are processors, for some tests wait; four at most.
WORKERS = $(shell n=$$(getconf _NPROCESSORS_ONLN); [ $$n -lt 4 ] && echo $$((n + 1)) || echo 4)

# uv takes a Python that is here and fetches none, and trusts whom the machine trusts.
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS ?= true
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT
# Progress is for people who watch.
QUIET := $(shell [ -t 2 ] && [ -z "$$CI" ] || echo --quiet)

# Of the Pythons of one version here the one that runs fastest: what was built without profile-guided
# optimization, as pyenv does by default, takes nearly half as long again for all we do.
define FASTEST
import os, subprocess, sys
TIMING = """
import ctypes, lzma, sqlite3, ssl, sys, time, zoneinfo
begun = time.process_time()
for number in range(200000): str(number).startswith("1")
print(time.process_time() - begun, sys.prefix)
"""
name = "python%d.%d" % sys.version_info[:2]
places = [sys._base_executable, *(os.path.join(folder, name) for folder in
          [*os.environ["PATH"].split(os.pathsep), "/usr/local/bin", "/usr/bin"])]
found = {}
for path in dict.fromkeys(path for path in places if os.access(path, os.X_OK)):
    for _ in range(3):
        run = subprocess.run([path, "-I", "-c", TIMING], capture_output=True, text=True)
        if run.returncode == 0:
            seconds, prefix = run.stdout.split(maxsplit=1)
            found.setdefault(prefix, (path, []))[1].append(float(seconds))
best = min(found.values(), key=lambda one: min(one[1]), default=(sys._base_executable, []))
own = found.get(sys.base_prefix + "\n", best)
print(best[0] if not own[1] or min(best[1]) < 0.85 * min(own[1]) else own[0])
endef
export FASTEST

help:
	@echo 'make demo     a running instance with realistic data, and a page to look at'
	@echo 'make test     all checks and all tests'
	@echo 'make check    format, lint, types, imports'
	@echo 'make simulate credit against a model, with crashes, for hours (SEEDS=500; a seed again: SEED=17 SEEDS=1)'
	@echo 'make mutants  mutation tests of the rating: what changes an amount must fail a test (half an hour)'
	@echo 'make bench    every performance claim, as a ratio'
	@echo 'make docs     write the generated pages of docs/reference'
	@echo 'make format   format the code'
	@echo 'make lock     bring uv.lock up to pyproject.toml (ARGS=--upgrade: the newest versions)'
	@echo 'make clean    remove what is installed and cached here (not taximeter-data)'

setup: .venv/.ready

demo: setup
	@$(BIN)/taximeter demo $(ARGS)

# The checks keep one processor busy, and the tests at times wait: they run side by side.
test: setup
	@failed=0; \
	$(MAKE) check > .venv/checks.txt 2>&1 & checks=$$!; \
	$(BIN)/pytest --numprocesses=$(WORKERS) --dist=worksteal $(ARGS) || failed=1; \
	wait $$checks || failed=1; \
	cat .venv/checks.txt; \
	exit $$failed

check: setup
	@failed=0; \
	$(BIN)/ruff format --check --quiet $(CHECKED) || \
		{ echo 'These files are not formatted. Run: make format'; failed=1; }; \
	$(BIN)/ruff check --quiet $(CHECKED) || failed=1; \
	$(BIN)/mypy || failed=1; \
	$(BIN)/lint-imports --no-cache --no-logo > .venv/imports.txt || \
		{ cat .venv/imports.txt; failed=1; }; \
	if [ $$failed = 1 ]; then echo 'Checks failed.'; exit 1; fi; \
	echo 'Checks passed: format, lint, types, imports.'

simulate: setup
	@first=$(or $(SEED),$$(date +%s)); echo "Seeds from $$first on."; \
	TAXIMETER_SIMULATE_SEED=$$first TAXIMETER_SIMULATE_SEEDS=$(or $(SEEDS),500) \
		$(BIN)/pytest --numprocesses=0 -o faulthandler_timeout=0 tests/simulation $(ARGS)

mutants: setup
	@$(UV) run --locked --no-sync --with mutmut==$(MUTMUT_VERSION) mutmut run $(ARGS) || true
	@$(UV) run --locked --no-sync --with mutmut==$(MUTMUT_VERSION) mutmut results

bench: setup
	@$(BIN)/python -m benchmarks.run $(ARGS)

docs: setup
	@$(BIN)/python -m docs.generate

format: setup
	@$(BIN)/ruff format --quiet $(CHECKED)
	@$(BIN)/ruff check --quiet --fix $(CHECKED)

lock: $(TOOLS)
	@$(UV) lock $(ARGS)

clean:
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis dist mutants
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready: $(TOOLS) pyproject.toml uv.lock
	@echo 'Installing what uv.lock says into .venv ...' >&2
	@$(UV) sync --locked $(QUIET) \
		--python "$(or $(PYTHON),$$(.tools/bin/python -c "$$FASTEST"))" || { echo \
		'Setting up failed. Without a network, connect and try again; if uv.lock does not fit' \
		'pyproject.toml, run: make lock' >&2; exit 1; }
	@touch $@

$(TOOLS):
	@set -eu; found=''; \
	for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			found=$$python; break; \
		fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo 'Taximeter needs Python 3.11 or newer. Install it, or say where it is:' \
			'make PYTHON=/path/to/python3' >&2; \
		exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "This Python ($$found) lacks its venv module. Install it (Debian and Ubuntu:" \
			'apt-get install python3-venv) and run make again.' >&2; \
		exit 1; \
	fi; \
	rm -rf .tools; \
	"$$found" -m venv .tools; \
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || { \
		rm -rf .tools; \
		echo 'uv could not be installed. Is there a network, and a package index that pip reaches?' >&2; \
		exit 1; \
	}
	@touch $@
