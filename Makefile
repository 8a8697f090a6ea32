# `make demo` and `make test` set up what they need in .venv; `make dist` builds what is published.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEMO := out/demo

VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' selftaught/__init__.py)

# What the images are built on. `make images BASE=local` makes a base of this machine's own Python and needs no registry
# of images.
BASE ?= python:3.11-slim

.PHONY: demo test docs dist images base benchmark clean

$(VENV)/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV) \
		|| { echo "Python >= 3.11 with venv is needed (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(RUN) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python >= 3.11 is needed: make PYTHON=python3.11" >&2; exit 1; }
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@ldconfig -p 2>/dev/null | grep -q libseccomp.so.2 \
		|| echo "libseccomp is missing (Debian, Ubuntu: apt-get install libseccomp2)" >&2
	touch $@

demo: $(VENV)/installed ## verify the bundled puzzles; then let a tiny model teach itself (about eleven minutes)
	$(VENV)/bin/selftaught doctor --require restricted
	$(VENV)/bin/selftaught verify corpus: -o /dev/null --force --require restricted --summary
	rm -rf $(DEMO)
	$(VENV)/bin/selftaught loop --preset tiny --iterations 3 --require restricted --out $(DEMO)

test: $(VENV)/installed ## lint, type-check, and run every test under an outer limit (see tests/outer.py)
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m tests.outer $(RUN) -m pytest -q -m "not container and not cluster"
	$(RUN) -m tests.outer $(RUN) -m pytest -q -m cluster
	$(RUN) -m pytest -q -m container

docs: $(VENV)/installed ## build the site strictly into site/, and try what the texts say
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt $$($(RUN) -c \
		'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	rm -rf site && NO_COLOR=1 $(VENV)/bin/zensical build --strict
	$(RUN) -m tests.outer $(RUN) -m pytest -q tests/docs

SOURCES := pyproject.toml setup.py MANIFEST.in README.md LICENSE CHANGELOG.md DESIGN.md constraints.txt \
	$(shell find selftaught sandbox generator trainer -type f -not -path '*/__pycache__/*' -not -name '*.so')

# The sdist, and of it the wheel, with the platform tag that auditwheel finds for what the wheel links to.
dist/built: $(SOURCES) $(VENV)/installed
	rm -rf dist
	$(RUN) -m build --quiet --dependency-constraints-txt constraints.txt --outdir dist .
	test -e dist/*-any.whl || { PATH="$(abspath $(VENV))/bin:$$PATH" $(RUN) -m auditwheel repair -w dist \
		dist/*-linux_*.whl && rm dist/*-linux_*.whl; }
	touch $@

# What the wheel needs, for containers that reach no package index.
out/wheels/made: dist/built
	rm -rf $(@D)
	$(RUN) -m pip wheel --quiet --disable-pip-version-check -c constraints.txt -w $(@D) "$$(ls dist/*.whl)[server]"
	touch $@

dist: out/wheels/made ## build sdist and wheel, check both, and verify the corpus in an empty container
	$(RUN) -m twine check --strict dist/*.whl dist/*.tar.gz
	test -e dist/*-any.whl || $(RUN) -m auditwheel show dist/*.whl
	$(RUN) -m tests.distribution dist out/wheels

ifeq ($(BASE),local)
ON := --build-arg BASE=selftaught-base --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels
images: base out/wheels/made
else
ON := --build-arg BASE=$(BASE)
endif

# PREFIX names a registry and what is above the images in it, with a slash at the end: they can be pushed then.
PREFIX ?=
REVISION = $(shell { git rev-parse HEAD && { git diff --quiet HEAD || echo -changed; }; } 2>/dev/null | tr -d '\n')
TAGS := $(VERSION) $(shell echo $(VERSION) | cut -d. -f1,2) latest
IMAGE = docker build --quiet $(ON) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) \
	--build-arg WHEEL=$$(basename dist/*.whl) -f images/$(1).Dockerfile $(TAGS:%=-t $(PREFIX)$(2):%) .

images: dist/built ## build the images of the worker and of the daemon from the wheel (BASE=local: without a registry)
	$(call IMAGE,worker,selftaught-worker)
	$(call IMAGE,daemon,selftaught)

base: $(VENV)/installed
	$(RUN) images/base.py | docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' - selftaught-base

benchmark: $(VENV)/installed ## compare with other verifiers and judges (an hour or more)
	$(RUN) -m tests.benchmarks
	$(RUN) -m tests.benchmarks.load
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target out/peers \
		-r tests/benchmarks/peers.txt || echo "judges that are not installed are left out" >&2
	$(RUN) -m tests.benchmarks.judges

clean:
	rm -rf $(VENV) build dist out/wheels site .cache *.egg-info
