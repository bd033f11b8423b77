# firnfs: everything that is done with the sources. `make help` lists it.

PREFIX ?= /usr/local
DESTDIR ?=
SBIN ?= /sbin

.DEFAULT_GOAL := help
.PHONY: help build demo test lint tools kill-tests fsx limits bench install uninstall clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build target/release/firn
	cargo build --release --locked

demo: ## Show what a volume does: SQLite, a fork under load, a kill, a recovery (root)
	@scripts/demo

test: ## Run all tests, installing what they need (root)
	@scripts/test

lint: ## Check the format, the lints and the licences
	@scripts/lint

tools: ## Install the programs that tests run into target/tools
	@scripts/tools

kill-tests: ## Kill the daemon under PostgreSQL and SQLite 20 times each (root)
	@scripts/long database FIRN_KILLS=20

fsx: ## 200,000 random operations with fsx, and as many with the exerciser (root)
	@scripts/long suites FIRN_FSX_OPS=40000 FIRN_EXERCISE_OPS=200000

limits: ## Rewrite 4 GiB five times over with 64 MiB of memory; 200 forks of 4 GiB (root)
	@scripts/long limits FIRN_LIMITS_MIB=4096

bench: ## Compare a volume with a directory on the same disk (root); BENCH="--quick --only NAME"
	@scripts/bench $(BENCH)

install: build ## Install firn and its mount helpers (PREFIX, SBIN, DESTDIR)
	install -D -m 755 target/release/firn $(DESTDIR)$(PREFIX)/bin/firn
	install -d $(DESTDIR)$(SBIN)
	ln -sf $(PREFIX)/bin/firn $(DESTDIR)$(SBIN)/mount.fuse.firn
	ln -sf $(PREFIX)/bin/firn $(DESTDIR)$(SBIN)/mount.firn

uninstall: ## Remove what install made
	rm -f $(DESTDIR)$(PREFIX)/bin/firn $(DESTDIR)$(SBIN)/mount.fuse.firn $(DESTDIR)$(SBIN)/mount.firn

clean: ## Remove what was built
	cargo clean
