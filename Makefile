# Two commands: `make demo` and `make test`. Each sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test check benchmark clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || { echo "Python >= 3.11 with venv is needed (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(RUN) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed: make PYTHON=python3.11" >&2; exit 1; }
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@ldconfig -p 2>/dev/null | grep -q libseccomp.so.2 || echo "libseccomp is missing (Debian, Ubuntu: apt-get install libseccomp2)" >&2
	touch $@

demo: $(VENV)/installed ## judge the bundled puzzles and print the summary
	$(VENV)/bin/selftaught doctor --require restricted
	$(VENV)/bin/selftaught verify corpus: -o /dev/null --force --require restricted --summary

test: $(VENV)/installed ## lint, type-check, and run every test
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pytest -q

benchmark: $(VENV)/installed ## compare with other judges (some minutes)
	$(RUN) -m tests.benchmarks
	$(RUN) -m tests.benchmarks.load

clean:
	rm -rf $(VENV) build dist *.egg-info
