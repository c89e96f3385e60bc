# make demo   reconstruct a few clips with the bundled weights and write out/demo/index.html
# make test   every check: style, types, import law, tests
# make train-tiny   train the bundled weights again

PYTHON ?= python3
BIN := .venv/bin
# The installations, each done once and again when the requirements change.
CORE := .venv/.core
DEV := .venv/.dev

.PHONY: demo test style types imports tests train-tiny clean

demo: $(CORE)
	$(BIN)/divot demo -o out/demo

test: style types imports tests

style: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

imports: $(DEV)
	$(BIN)/lint-imports

# A process a core, each with one thread.
tests: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

# Five stages, each from the weights of the one before; stopped and started again, it goes on. Hours on two cores.
train-tiny: $(DEV) out/film
	$(BIN)/divot train vae out/tiny/vae
	$(BIN)/divot train tokenizer out/tiny/tokenizer --init-vae out/tiny/vae/vae
	$(BIN)/divot train detokenizer out/tiny/detokenizer --init-model out/tiny/tokenizer/model
	$(BIN)/divot train lm out/tiny/shapes --recipe tiny_lm_shapes --init-model out/tiny/detokenizer/model
	$(BIN)/divot train lm out/tiny/lm --init-model out/tiny/shapes/model --set language.is_new=false

out/film: | $(DEV)
	$(BIN)/python scripts/fetch_big_buck_bunny.py $@

clean:
	rm -rf out .mypy_cache .ruff_cache .pytest_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

$(CORE): pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

# What is tested needs all that is shown, and more.
$(DEV): pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $(CORE) $@
