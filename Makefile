# make demo   train CE and ANL-CE on wrong masks, print both Dice scores (about five minutes after installation)
# make test   ruff, mypy, the documentation and the whole test suite
# make docs   the documentation site in site/; open site/index.html
# make clean  remove the virtual environment and everything the two commands wrote

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# The variable silences news about the theme's successor, on which mkdocs.yml has a line.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: demo test docs clean

demo: $(INSTALLED)
	$(BIN)/python -m seg_anl.segmentation.demo

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/python -m seg_anl.losses.stubs
	$(BIN)/mypy
	$(MKDOCS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

docs: $(INSTALLED)
	$(MKDOCS)

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[nnunet,cluster,docs,test]'
	touch $@

clean:
	rm -rf .venv demo runs site .pytest_cache .mypy_cache .ruff_cache
