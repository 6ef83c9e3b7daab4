# Whatever a target needs is installed once, and may be asked for again.  `make` alone lists the targets.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
NAMES  := digits training export serving webapp loadtest local tests tools docker
export PYTHONPATH := $(CURDIR)
LEARN   = $(if $(DATA),--data $(DATA)) $(if $(DRAWINGS),--drawings $(DRAWINGS))
# some shells export HOST, the name of this machine: from the environment only an address is taken
TARGET_URL = $(if $(findstring command,$(origin HOST))$(findstring ://,$(HOST)),$(HOST))
AIM     = $(if $(TARGET_URL),--host $(TARGET_URL)) $(if $(GRPC),--grpc $(GRPC)) $(if $(REST),--rest $(REST))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-k8s test-cluster k8s-alerts canary promote rollback lint train export proto lock vendor conformance loadtest loadtest-ui images test-containers sbom bench bench-serving bench-gateway clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp  ## install what is needed; the page answers on http://127.0.0.1:8080
	@exec $(PY) -m local

test: $(VENV)/dev.stamp $(VENV)/browser.stamp lint  ## install what is needed; check everything
	$(PY) -m pytest $(PYTEST)

lint: $(VENV)/dev.stamp $(VENV)/node.stamp  ## formatting, types, imports between packages
	$(PY) -m ruff check $(wildcard $(NAMES))
	$(PY) -m ruff format --check $(wildcard $(NAMES))
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-cache
	@if [ -x node_modules/.bin/tsc ]; then node_modules/.bin/tsc --noEmit -p webapp/static; \
	 else echo "lint: TypeScript is not installed (it needs npm), so the page's modules are not type-checked"; fi

train: $(VENV)/dev.stamp  ## train the shipped network (about an hour; DATA=mnist.npz DRAWINGS=pen.npz if at hand; NEW=1 begins anew)
	$(PY) -m training $(if $(NEW),,--resume) $(LEARN)

export: $(VENV)/dev.stamp  ## publish runs/latest as the next version under models/digits
	$(PY) -m export $(if $(DRAWINGS),--drawings $(DRAWINGS))

conformance: $(VENV)/dev.stamp  ## hold any server against the conformance tests: TARGET=host:8500,host:8501
	$(PY) -m pytest tests/conformance --target=$(TARGET)

loadtest: $(VENV)/run.stamp $(VENV)/load.stamp  ## measure a deployment for two minutes: ours, or HOST=http://…; PROFILE=ramp, LOADTEST=flags
	@exec $(PY) -m loadtest $(PROFILE) $(AIM) $(LOADTEST)

loadtest-ui: $(VENV)/run.stamp $(VENV)/load.stamp  ## Locust's own page against ours, or HOST=http://…
	@exec $(PY) -m loadtest.ui $(AIM)

test-k8s: $(VENV)/dev.stamp $(VENV)/policy.stamp  ## build the Kubernetes manifests, check schemas, policies, probes, balancing
	$(PY) -m pytest $(wildcard tests/test_k8s_*.py) $(PYTEST)

ROLLOUT = $(PY) tools/rollout$(if $(filter kubernetes,$(ON)),_kubernetes.py,.py --server $(or $(SERVER),127.0.0.1:8500))
canary: $(VENV)/dev.stamp  ## try VERSION=3 on the canary's share of the drawings (ON=kubernetes: in the cluster)
	$(ROLLOUT) canary $(VERSION)

promote: $(VENV)/dev.stamp  ## have VERSION=3 answer all drawings (ON=kubernetes: in the cluster)
	$(ROLLOUT) promote $(VERSION)

rollback: $(VENV)/dev.stamp  ## give up the canary; if none is tried, go back to the version before (ON=kubernetes: in the cluster)
	$(ROLLOUT) rollback

k8s-alerts: monitoring/prometheus/alerts.yml  ## copy the alerts to the Kubernetes component
	{ sed '/^  groups:/,$$d' k8s/components/monitoring/alerts.yaml; sed -n '/^groups:/,$$p' $< | sed 's/^\(.\)/  \1/'; } > k8s/components/monitoring/alerts.yaml.new
	mv k8s/components/monitoring/alerts.yaml.new k8s/components/monitoring/alerts.yaml

images:  ## build the container images, tagged with TAG (dev), the version and the commit
	@$(PYTHON) tools/images.py --tag $(or $(TAG),dev)

test-cluster: $(VENV)/dev.stamp  ## apply the manifests to a real control plane; needs the binaries that tools/control_plane.sh builds
	$(PY) -m pytest tests/trial_cluster.py $(PYTEST)

test-containers: $(VENV)/dev.stamp $(VENV)/policy.stamp  ## build the images, run docker-compose.yml, kill, publish, scrape, tear down; needs an engine
	$(PY) -m pytest tests/test_containers_policy.py tests/trial_containers.py $(PYTEST)

sbom: $(VENV)/dev.stamp  ## list what each image holds, in CycloneDX, under dist/
	@$(PY) tools/sbom.py dist

bench-serving: $(VENV)/dev.stamp  ## the model server under h2load: MODEL=dir of another model, TFS=host:8500,host:8501 beside it
	$(PY) -m loadtest.bench_serving $(if $(MODEL),--base-path $(MODEL)) $(if $(TFS),--tfs $(TFS))

bench: $(VENV)/dev.stamp .venv-peers/peers.stamp  ## every comparison bench in one table, beside the run before (needs wrk)
	$(PY) -m loadtest.bench --peers .venv-peers/bin/python

bench-gateway: $(VENV)/dev.stamp .venv-peers/peers.stamp  ## our two tiers and their peers side by side (needs wrk)
	$(PY) -m loadtest.bench_gateway --peers .venv-peers/bin/python

.venv-peers/peers.stamp: requirements/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --disable-pip-version-check --progress-bar off -q --require-hashes --no-deps -r $<
	@touch $@

proto: $(VENV)/dev.stamp  ## compile the message definitions (after editing a .proto)
	$(PY) -m grpc_tools.protoc -Idigits/wire --descriptor_set_out=digits/wire/wire.binpb error_codes.proto tensorflow.proto serving.proto
	$(PY) -m grpc_tools.protoc -Idigits/wire -Iserving --descriptor_set_out=serving/serving.binpb config.proto fast.proto session.proto

lock:  ## resolve the dependencies anew (needs uv)
	sh requirements/lock.sh

vendor:  ## copy Bootstrap from its package (needs npm)
	npm ci && npm run vendor

clean:  ## remove what was installed here
	rm -rf $(VENV) .venv-peers node_modules

$(PY):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v < (3, 14) and "digits needs Python 3.11 to 3.13, which TensorFlow has wheels for; this is %d.%d (choose another with PYTHON=…)" % v)'
	$(PYTHON) -m venv $(VENV)

# checkov, apart from everything else: it pins its ninety packages
$(VENV)/policy.stamp: requirements/policy.txt | $(PY)
	$(PY) -m venv $(VENV)/policy
	$(VENV)/policy/bin/python -m pip install --disable-pip-version-check --progress-bar off -q --require-hashes --no-deps -r $<
	@touch $@

$(VENV)/%.stamp: requirements/%.txt | $(PY)
	$(PY) -m pip install --disable-pip-version-check --progress-bar off -q --require-hashes --no-deps -r $<
	@touch $@

# TypeScript checks the page's modules, axe-core its accessibility; where there is no npm both say that they are skipped
$(VENV)/node.stamp: package-lock.json | $(PY)
	@if ! command -v npm >/dev/null; then :; \
	 elif npm ci --no-audit --no-fund --silent; then touch $@; else echo "make: npm ci failed; it is tried again the next time"; fi

# Debian's Chromium for the browser tests, where it may be installed; without it those tests say that they are skipped
$(VENV)/browser.stamp: | $(PY)
	@if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	   (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium) >/dev/null 2>&1 \
	   || echo "make: chromium could not be installed"; fi
	@touch $@
