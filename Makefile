# Everything runs from two virtual environments, made and refilled when their lock changes:
#   .venv          the project with its tools          requirements/dev.txt
#   .venv-gateway  the real MCP gateway under test     requirements/gateway.txt
# Two, because the gateway needs another major version of mcp than the project. The gateway's lies in the cache folder,
# under the digest of its lock, so that another checkout finds it there; the project's own installs this checkout.
# A second gateway, which needs another Python, lies there too: tests/lab/manager.py.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Arguments for the command behind a target: make test ARGS="-k gate"
ARGS ?=
# More than there are cores to run on: the tests mostly wait for other processes, and each worker starts its own servers.
WORKERS ?= 3
# Containers' images often switch it off; then each process that the tests start compiles all of it again.
export PYTHONDONTWRITEBYTECODE :=

LOCK := .venv/bin/uv pip compile --quiet --universal --generate-hashes \
	--custom-compile-command "make lock"

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: .venv/installed .venv-gateway/installed ## Break into a small MCP estate and contain it (ARGS=--help for its options)
	@.venv/bin/mcp-soar demo $(ARGS)

.PHONY: test
test: .venv/installed .venv-gateway/installed programs ## Run the test suite (ARGS="-k gate" for a part of it)
	@.venv/bin/pytest -m "not slow" -n $(WORKERS) --dist loadgroup --no-loadscope-reorder $(ARGS)

# What mypy knows of a file is found by its digest: another checkout finds it in the cache folder, too.
.PHONY: check
check: .venv/installed ## Lint, formatting, types, import layers
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy --cache-dir $(CACHE)/mypy
	@.venv/bin/lint-imports --no-logo

# One after another: a benchmark shares the machine with nothing else.
.PHONY: bench
bench: .venv/installed .venv-gateway/installed postgres ## Measure the hot path, journal, evidence, checks, command line: bench.json
	@rm -f bench.json
	@.venv/bin/python -m tests.bench.bench_cli bench.json
	@.venv/bin/python -m tests.bench.bench_journal bench.json
	@.venv/bin/python -m tests.bench.bench_evidence bench.json
	@.venv/bin/python -m tests.bench.bench_response bench.json
	@.venv/bin/python -m tests.bench.bench_checks bench.json
	@.venv/bin/python -m tests.bench.bench_flood bench.json
	@.venv/bin/python -m tests.bench.bench_cluster bench.json

.PHONY: screening
screening: .venv/installed ## Measure the screening on its labelled set, and another beside it: docs/screening.md
	@.venv/bin/python -m tests.playbooks.screening.measure
	@.venv/bin/python -m tests.playbooks.screening.beside

.PHONY: classes
classes: .venv/installed .venv-gateway/installed ## Run every playbook's drill; what they took, and the table of classes, into README.md
	@rm -f playbooks/measured.yaml
	@MCP_SOAR_MEASURED=playbooks/measured.yaml .venv/bin/pytest -n 0 tests/contract/test_playbooks.py
	@.venv/bin/python -m tests.contract.measuring

.PHONY: linted
linted: .venv/installed ## Lint the shipped playbooks, and note that doctor need not: playbooks/linted.yaml
	@.venv/bin/python -m tests.contract.linting

# FOLDER: where the playbooks lie, each with its drills beside it.
.PHONY: drill
drill: .venv/installed .venv-gateway/installed ## Play the drills of your own playbooks (FOLDER=~/my-soar/playbooks)
	@MCP_SOAR_PLAYBOOKS="$$(realpath $(or $(FOLDER),$(error write FOLDER=DIR, where your playbooks lie)))" .venv/bin/pytest -n 0 tests/contract/test_playbooks.py $(ARGS)

.PHONY: pictures
pictures: .venv/installed .venv-gateway/installed programs ## Photograph the Prefect UI as the browser's test walks through the demonstration's estate: docs/
	@MCP_SOAR_PICTURES=docs .venv/bin/pytest -n 0 tests/browser

# FILE: where to. On Debian; no engine is needed, and `skopeo copy oci-archive:FILE docker://...` brings it to a registry.
.PHONY: image
image: .venv/installed ## Write an image of mcp-soar (FILE=mcp-soar.tar), to run on a cluster: docs/production.md
	@.venv/bin/python -m tests.cluster.own_image "$(or $(FILE),mcp-soar.tar)"

.PHONY: lock
lock: .venv/installed ## Pin what pyproject.toml and gateway.in ask for (ARGS=--upgrade for newer versions)
	@echo "Locking requirements/*.txt"
	@$(LOCK) --python-version 3.11 --group dev pyproject.toml --output-file requirements/dev.txt $(ARGS)
	@$(LOCK) --python-version 3.11 requirements/gateway.in --output-file requirements/gateway.txt $(ARGS)
	@$(LOCK) --python-version 3.12 requirements/manager-gateway.in --output-file requirements/manager-gateway.txt $(ARGS)
	@$(LOCK) --python-version 3.11 requirements/litellm.in --output-file requirements/litellm.txt $(ARGS)
	@$(LOCK) --python-version 3.12 requirements/scanner.in --output-file requirements/scanner.txt $(ARGS)

# The project is installed without build isolation, so that nothing outside the lock is ever fetched.
.venv/installed: .venv/filled pyproject.toml
	@echo "Installing mcp-soar into .venv"
	@.venv/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/filled: requirements/dev.txt
	@$(call fill,.venv,$<)
	@touch $@

.venv-gateway/installed: requirements/gateway.txt
	@$(call cached,.venv-gateway,$<)

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mcp-soar
define digest
import hashlib, pathlib, sys
print(hashlib.sha256(pathlib.Path("$<").read_bytes()).hexdigest()[:16], "py%d%d" % sys.version_info[:2], sep="-")
endef
export digest

# $(call cached,LINK,LOCK): the same in the cache folder, under the digest of LOCK, the rule's first prerequisite, with
# LINK to it. Two checkouts that fill it at once wait for each other, where there is a flock.
define cached
	python=$$($(find-python)) && folder=$(CACHE)/$(basename $(notdir $(2)))-$$($$python -c "$$digest") \
		&& mkdir -p $$folder && exec 9>$$folder.lock && { flock 9 2>/dev/null || true; } \
		&& { test -e $$folder/installed || { $(call fill,$$folder,$(2)); }; } && touch $$folder/installed \
		&& { test -L $(1) || rm -rf $(1); } && ln -sfn $$folder $(1)
endef

# $(call fill,FOLDER,LOCK): make the virtual environment FOLDER unless it is there, and install LOCK into it. The lock
# is complete, so pip resolves nothing: left to resolve, older ones take the newest release of what somebody requires
# with an extra, and refuse it for having no hash.
define fill
	echo "Installing $(2) into $(1) (one minute to several when new)"; \
	test -x $(1)/bin/pip || { python=$$($(find-python)) && $$python -m venv $(1); } || exit 1; \
	$(1)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(2) \
		&& $(1)/bin/pip check
endef

# The oldest supported version first: the locks are made and mostly tested with it. Debian splits ensurepip off.
PYTHON ?=
define find-python
	for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3); do \
		$$python -c "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null \
			&& echo $$python && exit; \
	done; \
	echo "mcp-soar needs Python 3.11 or newer with its venv module (Debian: apt-get install python3-venv);" \
		"make PYTHON=... names one that is not on PATH" >&2; \
	exit 1
endef

# Programs that tests need beside Python, each as PROGRAM:DEBIAN-PACKAGE. Without one its tests are skipped, so a failed
# installation is reported and does not end the run.
PROGRAMS := busybox:busybox-static iptables:iptables ssh-agent:openssh-client chromium:chromium node:nodejs npm:npm java:default-jre-headless mvn:maven prometheus-alertmanager:prometheus-alertmanager
.PHONY: programs
programs: postgres
	@for pair in $(PROGRAMS); do \
		program=$${pair%%:*}; package=$${pair#*:}; \
		command -v $$program >/dev/null || { echo "$$program not found" >&2; $(call install,$$package); }; \
	done
	@.venv/bin/python -m tests.lab.hangul || { echo "no font with Hangul found" >&2; $(call install,fonts-nanum); }
	@.venv/bin/python -m tests.lab.typescript_sdk || true
	@.venv/bin/python -m tests.lab.oidc || true
	@.venv/bin/python -m tests.lab.keycloak || true
	@test ! -e /etc/debian_version || dpkg -s libseccomp-dev >/dev/null 2>&1 || { $(call install,libseccomp-dev pkg-config); }
	@.venv/bin/python -m tests.cluster.build || true
	@.venv/bin/python -m tests.lab.manager || true

# PostgreSQL's programs are not on PATH. The drop-in keeps Debian from starting a server of its own on the standard port.
CREATECLUSTER := /etc/postgresql-common/createcluster.d
.PHONY: postgres
postgres: .venv/installed
	@.venv/bin/python -m tests.lab.postgres && exit; \
	$(AS_ROOT) && mkdir -p $(CREATECLUSTER) && echo "create_main_cluster = false" >$(CREATECLUSTER)/mcp-soar.conf; \
	$(call install,postgresql); \
	rm -f $(CREATECLUSTER)/mcp-soar.conf

# Whether packages can be installed here.
AS_ROOT := test "$$(id -u)" = 0 && test -e /etc/debian_version

# $(call install,PACKAGE): install a Debian package as root; elsewhere say what follows from its absence.
define install
	if $(AS_ROOT); then \
		echo "Installing $(1) with apt-get"; \
		said=$$( (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(1)) \
			2>&1 ) || { echo "$$said" | tail -n 5; echo "$(1) could not be installed: its tests will be skipped"; }; \
	else echo "Tests that need $(1) will be skipped"; fi
endef
