# sudo make run     sets up what is missing, then runs the main scenario
# sudo make test    sets up what is missing, then runs every check and test
.PHONY: setup run test unit online integration lint live test-live docs bench clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := mininet mosquitto iptables nftables iproute2 iputils-ping ethtool iperf3 kmod \
            user-mode-linux gcc libc6-dev util-linux procps net-tools curl mosquitto-clients python3-venv \
            crun umoci
# The CPU build, where the package index at hand offers one: PIP_ARGS="--index-url URL".
TORCH ?= torch==2.13.0

# Tests start Python a thousand times: what it compiles is kept, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

setup: $(VENV)/.done

# Debian packages and the virtual environment, once; again only when setup.py has changed. Nothing is compiled: of
# the packages' 15,000 modules the tests import one in six, which Python compiles at their first import.
$(VENV)/.done: setup.py Makefile tooling/debian-packages
	tooling/debian-packages $(PACKAGES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade $(PIP_ARGS) pip
	$(BIN)/pip install --quiet --no-compile $(PIP_ARGS) $(TORCH) --editable '.[node,testbed,boards,export,geotiff,datasets,cluster,dev]'
	tooling/link-command $(CURDIR)/$(BIN)/spaceverse
	touch $@

run: setup
	$(BIN)/spaceverse run topologies/dove_pass.py

test: setup
	$(MAKE) --jobs 2 --output-sync=target lint docs live
	$(MAKE) --jobs 2 --output-sync=target unit online
	$(MAKE) integration

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The live page: types, linter, unit tests, and whether the files that ship are those of its sources.
live: setup
	command -v npm > /dev/null || tooling/debian-packages nodejs npm
	cd live && npm ci --no-audit --no-fund --loglevel=error && npm run --silent check

# The live page of a short run in Chromium, which takes 400 MB of disk.
test-live: live
	tooling/debian-packages chromium
	$(BIN)/pip install --quiet $(PIP_ARGS) --editable '.[browser]'
	$(BIN)/python -m pytest -n 1 --own-machines tests/browser

docs: setup
	$(BIN)/sphinx-build --builder html --fail-on-warning --keep-going --quiet docs build/docs

unit: setup
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal tests/unit

# Tests that fetch packages, for which they need this machine's own network.
online: setup
	$(BIN)/python -m pytest -m online tests/integration

# Workers have network namespaces of their own, so that tests that need root run side by side.
integration: setup
	$(BIN)/python -m pytest --numprocesses 5 --own-machines --dist loadgroup --no-loadscope-reorder \
	    -m "not (alone or light or online)" tests/integration tests/campaign tests/docs
	$(BIN)/python -m pytest --numprocesses 2 --own-machines --dist loadgroup --no-loadscope-reorder \
	    -m "light and not alone" tests/integration
	$(BIN)/python -m pytest -m alone tests/integration tests/docs

bench: setup
	status=0; for f in benchmarks/*.py; do $(BIN)/python $$f || status=1; done; exit $$status

clean:
	tooling/link-command --remove $(CURDIR)/$(BIN)/spaceverse
	rm -rf $(VENV) live/node_modules live/build build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
