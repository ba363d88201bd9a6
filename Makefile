# A machine with Go and make is enough: `make run` and `make test` fetch what else they need.
# Written for GNU make 3.81 (macOS) and newer.

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
# VCS stamping is off because it stops the build in a checkout that another user owns; VERSION says the same.
GOBUILD  = CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-X sluice/shared/ops.Version=$(VERSION)" -o bin/

# The race detector needs cgo on every system but macOS, where it does no harm. TIMEOUT is for the tests of one package.
# -count=1: the cache of results does not see the programs that tests build and start.
TIMEOUT ?= 20m
GOTEST   = CGO_ENABLED=1 go test -race -count=1 -p 1 -timeout $(TIMEOUT) $(TESTFLAGS)
# PKG=systems, PKG=processes and PKG=units. Whole systems load both cores, so one at a time, and those in containers are
# apart; the other packages wait a lot.
SYSTEMS        = /e2e/(inproc|hostile)$$
LIST_systems   = $$(go list ./e2e/... | grep -E '$(SYSTEMS)')
LIST_processes = -p 2 $$(go list ./e2e/... | grep -vE '$(SYSTEMS)|/e2e/compose$$')
LIST_units     = -p 2 $$(go list ./... | grep -v /e2e/)

# The version is part of the file's name, so that a new version is installed and the present one is not built again.
LINT_VERSION   = v2.15.0
LINT           = bin/tools/golangci-lint-$(LINT_VERSION)
REPORT_VERSION = v1.13.0
REPORT         = bin/tools/gotestsum-$(REPORT_VERSION)

.DEFAULT_GOAL := help
.PHONY: help run build test test-fast again lint fmt bench load e2e compose torture tools

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

run: ## Build and run gateway, worker and an embedded Redis as one process (SLUICE_REDIS_URL: use that Redis)
	$(GOBUILD) ./infra/local/cmd/sluice-local
	@bin/sluice-local

build: ## Build bin/gateway, bin/worker and bin/sluice-local
	$(GOBUILD) ./gateway/cmd/gateway ./worker/cmd/worker ./infra/local/cmd/sluice-local

test: ## Run all tests with the race detector (TESTFLAGS='-v -run Name' is passed on; PKG=./package, PKG=units, PKG=processes or PKG=systems: only these)
	@infra/tools/need.sh redis-server cc
	@$(if $(PKG),,docker info >/dev/null 2>&1 || echo "no Docker engine answers: the tests in containers are skipped; 'make compose' says what to do")
	$(GOTEST) $(or $(LIST_$(PKG)),$(PKG),./...)

test-fast: ## Run the tests of the packages in two minutes: without whole systems, Clusters and Sentinels
	@infra/tools/need.sh redis-server cc
	$(GOTEST) -short $(LIST_units)

again: ## Run 'make test' again and again and tell what failed (RUNS=10 LOAD=6: ten times, beside six busy processes)
	@infra/tools/again.sh "$(or $(RUNS),10)" "$(or $(LOAD),0)"

e2e: ## Run the end-to-end tests only, never from the test cache
	@infra/tools/need.sh redis-server cc
	$(GOTEST) $(LIST_systems); a=$$?; $(GOTEST) $(LIST_processes); b=$$?; $(MAKE) --no-print-directory compose && exit $$((a | b))

compose: TIMEOUT = 20m
compose: ## Run the end-to-end tests in containers only, and show what they did and counted
	@infra/tools/need.sh cc
	$(GOTEST) -v ./e2e/compose

torture: ## Break everything while events flow and check what arrives (SEED=number, DURATION=30m, FAULTS=worker,link-cut,..., REDIS=sentinel|cluster)
	@infra/tools/need.sh redis-server cc
	SLUICE_TORTURE_SEED="$(or $(SEED),$(shell date +%s))" SLUICE_TORTURE_DURATION="$(DURATION)" SLUICE_TORTURE_FAULTS="$(FAULTS)" SLUICE_TORTURE_REDIS="$(REDIS)" \
		$(GOTEST) -timeout 0 -v -run '^TestTorture$$' ./e2e/torture

bench: ## Run the benchmarks (BENCH=pattern, PKG=./package; BASE=commit compares with that commit, COUNT=10 runs)
	@infra/tools/need.sh redis-server
	@infra/tools/bench.sh "$(or $(BENCH),.)" "$(or $(PKG),./...)" "$(BASE)" "$(or $(COUNT),10)"

load: build ## Load gateways, workers and Redis, and compare with floors (LOAD='-time 4s fanout' is passed on, LOAD=-h lists)
	@infra/tools/need.sh redis-server
	$(GOBUILD) ./e2e/load
	@bin/load -out bin/load-report $(LOAD)

# With -race it reads what the tests compile, and nothing is compiled twice.
lint: $(LINT) ## Check formatting, and golangci-lint with go vet's checks and the import rules of .golangci.yml
	@files=$$(gofmt -s -l .) && if [ -n "$$files" ]; then echo "not formatted, run 'make fmt':" $$files >&2; exit 1; fi
	@infra/tools/need.sh cc
	GOFLAGS="$$GOFLAGS -race" CGO_ENABLED=1 $(LINT) run

fmt: ## Format all Go code
	gofmt -s -w .

tools: $(LINT) $(REPORT)

# It is built more often than it is used in earnest: without optimization that takes two thirds of the time.
$(LINT):
	GOBIN="$(CURDIR)/bin/tools" CGO_ENABLED=0 go install -gcflags=all='-N -l' -ldflags='-s -w' github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv bin/tools/golangci-lint $@

$(REPORT):
	GOBIN="$(CURDIR)/bin/tools" CGO_ENABLED=0 go install gotest.tools/gotestsum@$(REPORT_VERSION)
	mv bin/tools/gotestsum $@
