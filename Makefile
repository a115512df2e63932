# The verbs of this project. Each makes its own environment in .venv; a second run starts at once.
.PHONY: help demo run test check bench docs torture clean

PY := .venv/bin/python

help:            ## this list
	@grep -hE '^[a-z]+: +.*##' $(MAKEFILE_LIST) | sed -E 's/: +[^#]*##/\t/' | expand -t 12

demo:            ## the three documented events, from ten lines of Python to a durable record; ends by itself
	@scripts/environment server
	@$(PY) scripts/demo.py

run:             ## a server that stays up, with a platform pair and its keys; Ctrl-C stops it
	@scripts/environment server
	@$(PY) scripts/run.py

test:            ## all tests but the slow and hostile ones
	@scripts/environment server dev
	@$(PY) -m pytest $(or $(ARGS),--numprocesses 3 --dist loadfile)

torture:         ## the slow and hostile tests
	@scripts/environment server dev
	@$(PY) -m pytest -m torture --timeout 1800 $(ARGS)

check:           ## lint, format, types, the arrows between packages
	@scripts/environment server dev
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PY) scripts/docs.py --check

bench:           ## the benchmark table, with its peers in the same run
	@scripts/environment server dev bench
	@$(PY) -m bench $(ARGS)

docs:            ## rewrite the pages that are made from code
	@scripts/environment server dev
	@$(PY) scripts/docs.py

clean:           ## remove what the verbs made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build
