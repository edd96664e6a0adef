# Each target sets up what it needs, from a fresh clone. Needed beforehand: Python 3.11+, a Rust toolchain, make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUST := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock

.PHONY: setup demo test lint bench quality networks fuzz valgrind clean

# What `asd` needs to run: enough for the demo.
$(VENV)/.base: pyproject.toml $(RUST)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install --editable .
	@touch $@

# And to train networks: torch.
$(VENV)/.train: $(VENV)/.base
	$(PIP) install --editable ".[train]"
	@touch $@

# Everything: test and lint tools too.
$(VENV)/.all: $(VENV)/.train
	$(PIP) install --editable ".[train]" --group test --group lint
	@touch $@

setup: $(VENV)/.all

demo: $(VENV)/.train
	$(BIN)/asd demo demo --overwrite

test: $(VENV)/.all
	cargo test --workspace --quiet
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.all
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- --deny warnings
	$(BIN)/ruff format --check python tests benches
	$(BIN)/ruff check python tests benches
	$(BIN)/mypy

# Arbitrary bytes for every decoder, this many minutes each: make fuzz MINUTES=10
fuzz:
	rust/fuzz/run.sh $(or $(MINUTES),10)

# The crate's tests under memcheck. Needed beforehand: valgrind
valgrind:
	rust/valgrind.sh

# The README's figures of speed: make bench [ARGS="--quick"]
bench: $(VENV)/.all
	$(BIN)/python benches/speed.py $(ARGS)
	@if command -v valgrind >/dev/null; then $(BIN)/python benches/instructions.py; \
	else echo "no valgrind here: instructions are not counted"; fi

# The README's figures of quality: make quality DATA=FOLDER; that of networks takes hours: make networks DATA=FOLDER
quality: $(VENV)/.base
	$(BIN)/python benches/baselines.py --data "$(or $(DATA),$(ASD_DATA),data)"

networks: $(VENV)/.all
	$(BIN)/python benches/networks.py --data "$(or $(DATA),$(ASD_DATA),data)" $(ARGS)

clean:
	rm -rf $(VENV) target demo
