# One target per stage; each says "up to date" when there is nothing to do.
#   make all PIPELINE=FILE OUT=DIR SET="key=value key=value" FORCE=1
PIPELINE ?= pipelines/quickstart.toml
OUT      ?=
SET      ?=
FORCE    ?=
CARGO    ?= cargo
BIN      := target/release

# rust-toolchain.toml names a version; where rustup has it not and cannot get it, its default has to do.
ifeq ($(shell $(CARGO) --version 2>/dev/null),)
export RUSTUP_TOOLCHAIN = stable
endif

# Names may have spaces and quotes in them.
quoted    = '$(subst ','\'',$(1))'
empty    :=
space    := $(empty) $(empty)
stem      = $(subst |,$(space),$(basename $(notdir $(subst $(space),|,$(1)))))
OUT_DIR   = $(call quoted,$(or $(OUT),out/$(call stem,$(PIPELINE))))
OPTIONS   = --config $(call quoted,$(PIPELINE)) $(if $(OUT),--out $(call quoted,$(OUT))) $(foreach s,$(SET),--set $(call quoted,$(s)))
FORCED    = $(OPTIONS) $(if $(FORCE),--force)
DATA     := fetch-parquet train-tokenizer tokenize pack-bin
MODEL    := train eval-ppl sample

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: test-cluster test-slurm test-snakemake test-kubernetes all build build-data build-model data fetch tokenizer tokenize pack train eval sample test test-long crash-test fuzz miri test-mesa gpu-compile bench bench-gpu lint clean help

all: data train eval sample ## From stories to a model that tells them
	@echo
	@echo Made " "$(OUT_DIR)/run/final "  the model, as a Hugging Face folder"
	@echo "     " $(OUT_DIR)/eval.json "  its perplexity"
	@echo "     " $(OUT_DIR)/run/samples.md "  ten stories before and after training, side by side"
	@echo Next " "$(BIN)/sample $(call quoted,$(OPTIONS)) "--prompt 'The little dog wanted'"

build: build-data build-model ## Build every stage

# Two builds, so that a box that only makes data compiles nothing of the trainer. What both need has the same features in
# both (shared/features), and is compiled once.
build-data:
	$(CARGO) build --release $(addprefix -p ,$(DATA))
build-model:
	$(CARGO) build --release $(addprefix -p ,$(MODEL))

data: fetch tokenizer tokenize pack ## The four data stages; compiles nothing of the trainer

fetch: build-data ## raw/: stories as verified parquet
	$(BIN)/fetch-parquet $(FORCED)
tokenizer: build-data ## tokenizer.json: byte-level BPE
	$(BIN)/train-tokenizer $(FORCED)
tokenize: build-data ## tokens/: stories as ids
	$(BIN)/tokenize $(FORCED)
pack: build-data ## train.bin and val.bin
	$(BIN)/pack-bin $(FORCED)
train: build-model ## run/: the model
	$(BIN)/train $(FORCED)
eval: build-model ## eval.json: loss, perplexity, bits per byte
	$(BIN)/eval-ppl $(FORCED)
sample: build-model ## Stories on stdout
	$(BIN)/sample $(OPTIONS)

test: ## Build what the tests need and run all of them
	$(CARGO) build --release --workspace --bins
	$(CARGO) test --release --workspace --no-fail-fast

test-long: ## What takes minutes: 10 million random strings against crate tokenizers, a story of 300 MB, races, damages
	$(CARGO) build --release --workspace --bins
	BEDTIME_LONG=1 $(CARGO) test --release --workspace --test exactness --test trainer --test data_stages
	BEDTIME_LONG=1 $(CARGO) test --release --workspace --test crash -- worlds::
	BEDTIME_LONG=1 $(CARGO) test --release --workspace --test at_once
	BEDTIME_LONG=10 $(CARGO) test --release --workspace --test damage
	$(CARGO) test --release --workspace --test dist --test python -- --include-ignored
	@if $(CARGO) +nightly miri --version >/dev/null 2>&1; then $(MAKE) miri; \
	  else echo "not run: make miri, which needs a nightly compiler with Miri (tests/miri/README.md)"; fi

miri: ## The CPU engine in an interpreter that ends at the first undefined behaviour (a nightly compiler: tests/miri/README.md)
	BEDTIME_MEMORY_MIB=8192 CARGO_TARGET_DIR=target MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-tree-borrows" \
	  $(CARGO) +nightly miri test --manifest-path tests/miri/Cargo.toml -- runs::

# Ten minutes at most, in proportion more with KILLS=170 (of each stage, and of training from each late step: 1,000 of
# training at real step numbers); 200 signals; a table of the kills at the end.
KILLS ?= 30
crash-test: ## The real binaries killed hundreds of times and run again: same bytes (make test: a short form) 
	$(CARGO) build --release --workspace --bins
	$(CARGO) test --release --workspace --test crash --no-run
	BEDTIME_LONG=1 BEDTIME_KILLS=$(KILLS) timeout $$((20 * $(KILLS))) $(CARGO) test --release --workspace --test crash -- kills::

# The GPU's tests once more, in release folders of make test: on Mesa's newer lavapipe, and with bounds checks in the shaders.
test-mesa: ## The GPU tests on a second software Vulkan (Debian, x86-64; unpacks 590 MB once)
	tests/mesa.sh
	for room in kernels step faults proof; do \
	  CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$(CURDIR)/tests/mesa.sh --" \
	    $(CARGO) test --release --workspace --test gpu -- $$room:: || exit 1; done
	BEDTIME_GPU_CHECKS=1 $(CARGO) test --release --workspace --test gpu -- kernels::

# What needs engines installed: Slurm from the distribution, Snakemake and kubernetes-validate from PyPI, in target/cluster.
CLUSTER := PATH="$(CURDIR)/target/cluster/bin:$$PATH"
test-cluster: test-slurm test-snakemake test-kubernetes ## The data stages on Slurm, under Snakemake, as Kubernetes jobs (installs them: Debian, PyPI)
test-slurm: build-data
	tests/cluster/install.sh
	tests/cluster/test-slurm.sh
test-snakemake: build-data
	tests/cluster/install.sh
	$(CLUSTER) tests/cluster/test-snakemake.sh
test-kubernetes:
	tests/cluster/install.sh
	$(CLUSTER) kubernetes-validate --strict pipelines/kubernetes/*.yaml

gpu-compile: ## Every kernel on the compilers of NVIDIA, AMD and Apple GPUs, with no GPU (Debian, x86-64; unpacks 650 MB once)
	$(CARGO) build --release --workspace --bins
	tests/gpu_compile.sh

FUZZ := manifest tokenizer shard bin checkpoint config parquet folder jsonl text llama2c
fuzz: ## Every reader against made-up files, 15 minutes each (cargo-fuzz and a nightly compiler: tests/fuzz/README.md)
	BEDTIME_FUZZ_SEEDS=$(CURDIR)/tests/fuzz/corpus $(CARGO) test --release --workspace --test damage
	for target in $(FUZZ); do \
	  $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=900 -rss_limit_mb=1024 -malloc_limit_mb=1024 || exit 1; done

bench: ## What this machine reaches, as one table
	$(CARGO) build --release --workspace --bins
	$(BIN)/bench

# Real stories: make data bench-gpu PIPELINE=pipelines/tinystories-10m.toml [MINUTES=40]
MINUTES ?= 8
bench-gpu: ## What training reaches on this GPU, beside PyTorch where python3 has it (8 minutes)
	$(CARGO) build --release --workspace --bins
	$(BIN)/bench-gpu --minutes $(MINUTES) --json $(OUT_DIR)/bench-gpu.json \
	  $(if $(filter-out pipelines/quickstart.toml,$(PIPELINE)),--data $(OUT_DIR))

lint: ## Format, lints and documentation, warnings as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps

.PHONY: check-targets
check-targets: ## Check for macOS and Windows what needs no C compiler there (rustup gets the targets)
	.ci/check-targets

.PHONY: dist
dist: ## An archive of all programs, with licences, completions and man pages: target/dist (TARGET=TRIPLE)
	.ci/dist $(TARGET)

clean: ## Remove what this pipeline made (nothing else in OUT) and what cargo built
	$(CARGO) build --release -p bedtime
	$(BIN)/bedtime clean $(OPTIONS)
	$(CARGO) clean

help: ## This list
	@echo "make TARGET [PIPELINE=pipelines/NAME.toml] [OUT=DIR] [SET=\"key=value key=value\"] [FORCE=1]"
	@echo
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed 's/:.*## /\t/' | expand -t 12
	@echo
	@echo "First: make all     (no download, no GPU; a few minutes)"
