# The control panel. `make` alone prints every target.
#
#   PROFILE=smoke|quick|paper   how big (default quick)        SEEDS=1-10    seeds instead of the profile's
#   DEVICE=cpu|cuda             where (default cpu)            JOBS=2        runs at a time (default: one per core)
#   TORCH_BACKEND=cpu           skip PyTorch's CUDA wheels     PYTHON=...    the interpreter to build with
#   WANDB_MODE=online|offline   mirror the logs to wandb       PYTEST_ARGS   more words for pytest

SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:

PAPERS := $(patsubst %/pyproject.toml,%,$(wildcard pola/pyproject.toml loqa/pyproject.toml iqflow/pyproject.toml \
            stackelberg/pyproject.toml marlhf/pyproject.toml tournament/pyproject.toml))
FIGURES := $(foreach paper,$(PAPERS),$(patsubst $(paper)/figures/%.toml,$(paper)-%,$(wildcard $(paper)/figures/*.toml)))
PROFILE ?= quick
SEEDS ?=
DEVICE ?= cpu
JOBS ?=
PYTHON ?=
PYTEST_ARGS ?=
BUILD_IMAGE ?= docker build
IMAGE_ARGS ?=
export DEVICE PYTHON TORCH_BACKEND
# Images and CI machines often forbid Python to keep compiled modules; then every program starts seconds later.
export PYTHONDONTWRITEBYTECODE :=

suffix := $(if $(filter cuda,$(DEVICE)),-cuda)
python_of = .venv/$(1)$(suffix)/bin/python
boot := $(or $(PYTHON),$(shell command -v python3.11 || command -v python3 || echo python3))
environment = $(boot) common/environment.py $(1)
options = --profile $(PROFILE) --device $(DEVICE) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(JOBS),--jobs $(JOBS))
figures = $(call python_of,$(1)) -m common.figures
# Two processes of tests on two cores, a file's tests in one of them; words of one's own for pytest replace that.
pytest = $(call python_of,$(1)) -m pytest $(or $(PYTEST_ARGS),--numprocesses auto --maxprocesses 4 --dist loadfile)
# the paper's own spelling of its package
package_of = $(patsubst stackelberg,stackerlberg,$(1))

.PHONY: help
help: ## this list
	@echo "Start with:  make reproduce-pola-fig3   (reproduces a figure)"
	@echo "             make test                  (passes the tests)"
	@echo; echo "Figures (plan-... shows what a figure would run, figure-... redraws the published data):"
	@for toml in $(foreach paper,$(PAPERS),$(wildcard $(paper)/figures/*.toml)); do \
	  paper=$${toml%%/*}; figure=$$(basename $$toml .toml); \
	  printf '  %-42s %s\n' "reproduce-$$paper-$$figure" "$$(sed -n 's/^title = "\(.*\)"$$/\1/p' $$toml)"; done
	@echo; echo "One paper, or the tournament (now: $(PAPERS)):"
	@printf '  %-42s %s\n' \
	  "reproduce-PAPER" "all its figures" \
	  "plan-PAPER, plan-PAPER-FIGURE" "what would run, what is cached, how long it takes; runs nothing" \
	  "test-PAPER" "its tests and those of common/" \
	  "smoke-PAPER" "all its figures at smoke size" \
	  "bench-PAPER" "its speed as ratios to the original's" \
	  "image-PAPER" "its Docker image" \
	  "lock-PAPER" "resolve its dependencies anew into requirements.lock" \
	  "publish-PAPER-FIGURE" "copy a finished figure to published/" \
	  "players-PAPER" "train its players for the tournament anew and write them ($(PLAYERS))" \
	  "film-loqa-coin CHECKPOINT=FILE" "an episode of trained agents as a GIF (OPPONENT, SEED, STEPS, FPS, OUTPUT)" \
	  "film-pola-coin CHECKPOINT=FILE" "the same of POLA's agents" \
	  "film-iqflow-cleanup CHECKPOINT=FILE" "the same with the incentives paid (AGENTS, SEED, STEPS, FPS, OUTPUT)" \
	  "film-iqflow-escape-room CHECKPOINT=FILE" "the same, some episodes one after the other" \
	  "film-marlhf-TASK CHECKPOINT=LABEL" "an episode of spread, reference, tag or overcooked (or CHECKPOINT=FILE; SEED, STEPS, FPS, OUTPUT)" \
	  "agents-marlhf-TASK" "train its agents of graded skill anew (spread, spread_na4 to spread_na7, reference, tag, overcooked)" \
	  "clean-PAPER" "remove its results and environment"
	@echo; echo "Everything:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 \2/p' Makefile | while read -r target text; do printf '  %-42s %s\n' "$$target" "$$text"; done
	@echo; echo "Variables:"; sed -n 's/^#   //p' Makefile | sed 's/^/  /'

# --- every paper -----------------------------------------------------------------------------------------------

define paper_rules
.PHONY: env-$(1) reproduce-$(1) plan-$(1) test-$(1) smoke-$(1) lock-$(1) image-$(1) clean-$(1) bench-$(1)
env-$(1):
	@$$(call environment,$(1))
reproduce-$(1): env-$(1)
	@$$(call figures,$(1)) reproduce $(1) $$(options)
plan-$(1): env-$(1)
	@$$(call figures,$(1)) plan $(1) $$(options)
test-$(1): env-$(1)
	@$$(call pytest,$(1)) tests/common tests/each tests/$(1)
smoke-$(1): env-$(1)
	@$$(call figures,$(1)) reproduce $(1) $$(options) --profile smoke
bench-$(1): env-$(1)
	@for file in $$(wildcard $(1)/benchmarks/*.py); do echo "== $$$$file"; $$(call python_of,$(1)) $$$$file || exit; done
lock-$(1):
	@$$(boot) common/environment.py lock $(1)
image-$(1):
	$$(BUILD_IMAGE) -f docker/Dockerfile $$(IMAGE_ARGS) --build-arg PAPER=$(1) --build-arg PACKAGE=$$(call package_of,$(1)) \
	  --build-arg DEVICE=$$(DEVICE) \
	  --build-arg REVISION=$$$$(git rev-parse HEAD) \
	  --build-arg LOCK_HASH=$$$$(sha256sum $(1)/requirements.lock | cut -d' ' -f1) --tag opponent-shaping-$(1):$$(DEVICE) .
clean-$(1):
	rm -rf results/$(1) .venv/$(1) .venv/$(1)-cuda
endef
$(foreach paper,$(PAPERS),$(eval $(call paper_rules,$(paper))))

# --- every figure ----------------------------------------------------------------------------------------------

# $(1) is pola-fig3: the paper is what stands before the first dash, the figure what stands after it.
paper_of = $(firstword $(subst -, ,$(1)))
figure_of = $(patsubst $(paper_of)-%,%,$(1))
define figure_rules
.PHONY: reproduce-$(1) plan-$(1) figure-$(1) publish-$(1)
reproduce-$(1): env-$$(call paper_of,$(1))
	@$$(call figures,$$(call paper_of,$(1))) reproduce $$(call paper_of,$(1)) $$(call figure_of,$(1)) $$(options)
plan-$(1): env-$$(call paper_of,$(1))
	@$$(call figures,$$(call paper_of,$(1))) plan $$(call paper_of,$(1)) $$(call figure_of,$(1)) $$(options)
figure-$(1): env-$$(call paper_of,$(1))
	@$$(call figures,$$(call paper_of,$(1))) figure $$(call paper_of,$(1)) $$(call figure_of,$(1))
publish-$(1): env-$$(call paper_of,$(1))
	@$$(call figures,$$(call paper_of,$(1))) publish $$(call paper_of,$(1)) $$(call figure_of,$(1)) $$(options)
endef
$(foreach figure,$(FIGURES),$(eval $(call figure_rules,$(figure))))

# --- the tournament's players ----------------------------------------------------------------------------------

PLAYERS := $(patsubst %/write_players.py,%,$(wildcard $(addsuffix /write_players.py,$(PAPERS))))
.PHONY: $(addprefix players-,$(PLAYERS))
$(addprefix players-,$(PLAYERS)): players-%: env-%
	@cd $* && ../$(call python_of,$*) write_players.py

# --- every film ------------------------------------------------------------------------------------------------

# $(1) is a paper and the game of its film.py, such as loqa-coin.
FILMS := pola-coin loqa-coin iqflow-cleanup iqflow-escape-room marlhf-spread marlhf-reference marlhf-tag marlhf-overcooked
CHECKPOINT ?=
OPPONENT ?=
AGENTS ?=
SEED ?=
STEPS ?=
FPS ?=
OUTPUT ?=
define film_rules
.PHONY: film-$(1)
film-$(1): env-$$(call paper_of,$(1))
	@[ -n "$$(CHECKPOINT)" ] || { echo "film-$(1): name the agents, CHECKPOINT=RUN/agents/FILE" >&2; exit 2; }
	@$$(call python_of,$$(call paper_of,$(1))) $$(call paper_of,$(1))/film.py $$(call figure_of,$(1)) --checkpoint "$$(CHECKPOINT)" \
	  --output "$$(or $$(OUTPUT),results/$$(call paper_of,$(1))/film-$$(call figure_of,$(1)).gif)" \
	  $$(if $$(OPPONENT),--opponent "$$(OPPONENT)") $$(if $$(AGENTS),--agents "$$(AGENTS)") $$(if $$(SEED),--seed $$(SEED)) $$(if $$(STEPS),--steps $$(STEPS)) $$(if $$(FPS),--fps $$(FPS))
endef
$(foreach film,$(FILMS),$(eval $(call film_rules,$(film))))

# --- agents of graded skill --------------------------------------------------------------------------------------

agents-marlhf-%: env-marlhf
	@$(call python_of,marlhf) -m marlhf.behaviour.recipes $*

# --- everything ------------------------------------------------------------------------------------------------

.PHONY: reproduce check test test-slow smoke lint verdict readme clean
reproduce: ## every figure of every paper
	@worst=0; for paper in $(PAPERS); do $(MAKE) --no-print-directory reproduce-$$paper; code=$$?; \
	  [ $$code -gt $$worst ] && worst=$$code; done; exit $$worst
test: $(addprefix env-,$(PAPERS)) ## the whole test suite, each paper's in its own environment
	@first=tests/common; for paper in $(PAPERS); do \
	  $(call pytest,$$paper) $$first tests/each tests/$$paper || exit; first=; done
# 5 is pytest's word for a folder without such tests
test-slow: $(addprefix env-,$(PAPERS)) ## the tests marked slow, which the other test targets leave out
	@worst=0; first=tests/common; for paper in $(PAPERS); do \
	  $(call pytest,$$paper) -m slow $$first tests/$$paper; code=$$?; first=; \
	  [ $$code -eq 5 ] && code=0; [ $$code -gt $$worst ] && worst=$$code; done; exit $$worst
smoke: $(addprefix smoke-,$(PAPERS)) ## every figure at smoke size, seconds each
lint: env-pola ## style and imports of the whole tree
	@$(call python_of,pola) -m ruff check . && $(call python_of,pola) -m ruff format --check .
verdict: env-pola ## one table and results/index.html over whatever has been run
	@$(call figures,pola) verdict
check: lint smoke test ## lint, smoke and tests, then the table of the published results
	@$(call figures,pola) verdict --published
readme: env-pola ## write the table of the published figures into README.md
	@$(call figures,pola) readme
clean: ## remove every result and environment
	rm -rf results .venv
