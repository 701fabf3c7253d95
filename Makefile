# What a developer and CI run. `make` alone lists the targets.

export GOFLAGS := -mod=readonly
# Tools are built once and kept: golangci-lint takes minutes on two cores.
BIN := $(CURDIR)/.bin
GOLANGCI := $(BIN)/golangci-lint-v2.15.0
GOTESTSUM := $(BIN)/gotestsum-v1.13.0
DEMO ?= demo
SOAK ?= 20
# A quick look: make bench BENCH="-rounds 1 -messages 500".
BENCH ?=

.PHONY: help build demo lab test check lint fmt golden soak bench cover clean

help:
	@echo "make demo    the example plan against servers in memory; leaves its files in DEMO=$(DEMO)"
	@echo "make build   the program, into .bin/"
	@echo "make test    every test with -race, real Dovecots included"
	@echo "make check   format, vet, golangci-lint, go.mod, import rules"
	@echo "make fmt     gofmt and gofumpt, written"
	@echo "make golden  writes the golden files again; read the diff"
	@echo "make lab     two Dovecots and an SMTP sink on loopback, until Ctrl-C"
	@echo "make soak    every test SOAK=$(SOAK) times, in random order"
	@echo "make bench   Godwit, its peers and the limit side by side; BENCH=flags of godwit-lab bench"
	@echo "make cover   cover.html"

build:
	go build -o $(BIN)/godwit ./cmd/godwit
	go build -o $(BIN)/godwit-lab ./cmd/godwit-lab

# SQLite compiled without optimizing: with an empty build cache that is most of
# the time, and the demo's ledger is small.
demo:
	go run -gcflags='modernc.org/sqlite/lib=-N -l' -ldflags='-s -w' ./cmd/godwit demo --dir $(DEMO)

lab: .ci/needs.ok
	go build -o $(BIN)/godwit-lab ./cmd/godwit-lab
	$(BIN)/godwit-lab up -smtp

test: .ci/needs.ok $(GOTESTSUM)
	go vet ./...
	.ci/test -race -timeout 30m ./...
	.ci/test -run 'TestAYear$$' ./pipeline

check: lint
	@unformatted=$$(gofmt -l cmd pipeline plans stages templates); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go mod tidy -diff
	go test -run 'Import' ./cmd/godwit

lint: $(GOLANGCI)
	$(GOLANGCI) run ./...

fmt: $(GOLANGCI)
	$(GOLANGCI) fmt

$(GOLANGCI):
	GOBIN=$(BIN) GOFLAGS=-mod=mod go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv $(BIN)/golangci-lint $@

$(GOTESTSUM):
	GOBIN=$(BIN) GOFLAGS=-mod=mod go install gotest.tools/gotestsum@v1.13.0
	mv $(BIN)/gotestsum $@

# Each package with golden files takes -update.
golden:
	@for package in $$(grep -rl --include='*_test.go' 'flag.Bool("update"' cmd pipeline plans stages templates | xargs -r -n1 dirname | sort -u); do \
		go test ./$$package -update || exit 1; done

soak: .ci/needs.ok $(GOTESTSUM)
	GODWIT_LONG=1 .ci/test -race -timeout 6h -shuffle on -count $(SOAK) ./...

# Godwit as it is built for use. mbsync and doveadm come from Debian.
bench: build
	@.ci/needs bench
	$(BIN)/godwit-lab bench $(BENCH) -into README.md

cover: .ci/needs.ok
	go test -coverprofile cover.out -coverpkg ./... ./...
	go tool cover -html cover.out -o cover.html
	go tool cover -func cover.out | tail -1

clean:
	rm -rf $(BIN) cover.out cover.html

# Always looked at, never a file.
.PHONY: .ci/needs.ok
.ci/needs.ok:
	@.ci/needs
