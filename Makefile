# Two commands: `make demo` and `make test`. Each sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEMO := out/demo

VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' selftaught/__init__.py)

# What the images are built on. `make images BASE=local` makes a base of the machine's own Python and needs no registry of images.
BASE ?= python:3.11-slim

.PHONY: demo test images benchmark clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || { echo "Python >= 3.11 with venv is needed (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(RUN) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed: make PYTHON=python3.11" >&2; exit 1; }
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@ldconfig -p 2>/dev/null | grep -q libseccomp.so.2 || echo "libseccomp is missing (Debian, Ubuntu: apt-get install libseccomp2)" >&2
	touch $@

demo: $(VENV)/installed ## judge the bundled puzzles; then let a tiny model teach itself (about eleven minutes)
	$(VENV)/bin/selftaught doctor --require restricted
	$(VENV)/bin/selftaught verify corpus: -o /dev/null --force --require restricted --summary
	rm -rf $(DEMO)
	$(VENV)/bin/selftaught loop --preset tiny --iterations 3 --require restricted --out $(DEMO)

test: $(VENV)/installed ## lint, type-check, and run every test under an outer limit (see tests/outer.py)
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m tests.outer $(RUN) -m pytest -q -m "not container"
	$(RUN) -m pytest -q -m container

ifeq ($(BASE),local)
ON := --build-arg BASE=selftaught-base --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels
images: base
else
ON := --build-arg BASE=$(BASE)
endif

# What is written in C, for the images: neither base has a compiler. It holds nothing of Python, and of the C library only
# what is old, so it fits every base for this kind of processor; where it does not fit, the fork engine does the work.
ACCELERATOR := out/accelerator/_accelerator.so
NEEDS_PYTHON := $(addprefix sandbox/worker/native/,codecmodule.c codec_encode.c codec_decode.c)
$(ACCELERATOR): $(wildcard sandbox/worker/native/*.[ch])
	rm -rf $(@D) && mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -shared -fPIC -o $@ $(filter-out $(NEEDS_PYTHON),$(filter %.c,$^)) || echo "The accelerator can't be built here: the images go without it." >&2

# The same for the codec, with Python's limited API alone: the headers of this Python serve every version.
CODEC := out/codec/_codec.abi3.so
$(CODEC): $(wildcard sandbox/worker/native/codec*.[ch]) | $(VENV)/installed
	rm -rf $(@D) && mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -shared -fPIC -Wl,-z,now -I$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("include"))') -o $@ $(filter %.c,$^) \
		|| echo "The codec in C can't be built here: the images go without it." >&2

images: $(ACCELERATOR) $(CODEC) ## build the container images of the worker and of the daemon (BASE=local: without a registry)
	docker build --quiet $(ON) --build-arg VERSION=$(VERSION) -f images/worker.Dockerfile -t selftaught-worker:$(VERSION) .
	docker build --quiet $(ON) --build-arg VERSION=$(VERSION) -f images/daemon.Dockerfile -t selftaught:$(VERSION) .

.PHONY: base
base: $(VENV)/installed
	$(RUN) images/base.py | docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' - selftaught-base
	rm -rf build out/wheels
	$(RUN) -m pip wheel --quiet --disable-pip-version-check -c constraints.txt -w out/wheels 'setuptools>=77' '.[server]'

benchmark: $(VENV)/installed ## compare with other judges (half an hour or more)
	$(RUN) -m tests.benchmarks
	$(RUN) -m tests.benchmarks.load

clean:
	rm -rf $(VENV) build dist *.egg-info

.PHONY: docs
docs: $(VENV)/installed ## build the site strictly into site/, and try what the texts say
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt $$($(RUN) -c \
		'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	rm -rf site && NO_COLOR=1 $(VENV)/bin/zensical build --strict
	$(RUN) -m tests.outer $(RUN) -m pytest -q tests/docs
