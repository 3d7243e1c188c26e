# make book    the rendered book, in _build/html
# make pdf     the same, and all of it as one PDF, _build/book.pdf (needs Chromium)
# make test    all tests, the chapters included
# make train   the populations of the book, resumed where they stand (hours)
# make bench   training and topology beside other libraries (three quarters of an hour, on a machine that does nothing else)
# make tried   what the tests of faults, downloads and weight files find, in data/tried/tests.json (minutes)
# make fuzz    100,000 inputs at random of each kind, or those that data/tried/inputs.json lacks (hours)
# make audit   the pinned packages looked up among known vulnerabilities (asks the package index for the tool, and OSV)
# make lock    requirements.txt anew from the ranges in pyproject.toml (needs uv)
PYTHON ?= python3
VENV ?= .venv
run = $(VENV)/bin/python

.PHONY: book pdf test train bench tried fuzz audit lock environment clean

book: environment
	$(run) -m topo book

pdf: environment
	$(run) -m topo book --pdf

test: environment
	$(run) -m ruff check
	$(run) -m ruff format --check
	$(run) -m mypy
	$(run) -m bandit --quiet --recursive -l -l topo benchmarks book/_extensions
	$(run) -m pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg tests book

train: environment
	$(run) -m topo train

bench: environment
	$(run) -m pytest -q -m seconds
	$(run) -m benchmarks.populations
	$(run) -m benchmarks.topology

tried: environment
	$(run) -m pytest -q -m tried --tried=data/tried/tests.json tests

fuzz: environment
	$(run) tests/fuzzing.py

# In an environment of its own, because the tool needs packages that the project must not get.
audit:
	$(PYTHON) -m venv _build/audit
	_build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	_build/audit/bin/python -m pip_audit --requirement requirements.txt --no-deps --disable-pip --strict --vulnerability-service osv

environment: $(VENV)/installed

$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info[:2] < (3, 13) or sys.exit("This project needs Python 3.10, 3.11 or 3.12, and $(PYTHON) is %d.%d: say for example make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(run) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(run) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Every supported Python is below 3.13, so the marker that says so on each line says nothing.
lock:
	uv pip compile --quiet --universal --python-version 3.10 --extra test --no-annotate --no-header pyproject.toml \
	  | sed -E "s/python_full_version >= '3\.11' and python_full_version < '3\.13'/python_full_version >= '3.11'/; \
	            s/ and python_full_version < '3\.13'|python_full_version < '3\.13' and //; s/ ; python_full_version < '3\.13'$$//" > requirements.txt

clean:
	rm -rf _build
