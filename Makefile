# Two commands do everything on a fresh Debian 12 with Rust: `make playground` and `make test`.

BUILD_PACKAGES := gcc protobuf-compiler libseccomp-dev pkg-config
RUN_PACKAGES := iproute2 nftables util-linux procps
TEST_PACKAGES := docker.io busybox-static iptables docker-registry skopeo iputils-ping curl python3 python3-venv openssl golang-cfssl
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
STAMP := target/.packages

.PHONY: playground test build bench lint simulate

## Seven hosts on this machine, a swarm, a service, a lost leader: stays up until Ctrl-C.
playground: $(STAMP)-run
	cargo build --release --bin skep
	$(SUDO) ./target/release/skep playground $(ARGS)

## Every test: units, simulated clusters, real containers, several hosts, the stock docker CLI, a real Docker Engine.
test: $(STAMP)-test
	@./tools/test.sh

## The release binary.
build: $(STAMP)-build
	cargo build --release --bin skep

## The benchmark table against Docker 20.10 (docs/benchmarks.md).
bench: $(STAMP)-test
	cargo build --release --bin skep
	$(SUDO) ./target/release/skep bench

## 100,000 simulated swarms (docs/design/simulation.md); SEEDS=A..B for others.
SEEDS ?= 1..100001
simulate: $(STAMP)-build
	cargo run --profile sim -p sim -- --seeds $(SEEDS) --jobs $(shell nproc)

lint: $(STAMP)-build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

$(STAMP)-build:
	@mkdir -p target
	@missing=$$(for package in $(BUILD_PACKAGES); do dpkg -s $$package >/dev/null 2>&1 || echo $$package; done); \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; fi
	@touch $@

$(STAMP)-run: $(STAMP)-build
	@missing=$$(for package in $(RUN_PACKAGES); do dpkg -s $$package >/dev/null 2>&1 || echo $$package; done); \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; fi
	@touch $@

$(STAMP)-test: $(STAMP)-run
	@missing=$$(for package in $(TEST_PACKAGES); do dpkg -s $$package >/dev/null 2>&1 || echo $$package; done); \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; fi
	@touch $@
