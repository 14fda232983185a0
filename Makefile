# make demo   train CE and ANL-CE on wrong masks, print both Dice scores (about five minutes after installation)
# make test   ruff, mypy and the whole test suite
# make clean  remove the virtual environment and everything the two commands wrote

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test clean

demo: $(INSTALLED)
	$(BIN)/python -m seg_anl.segmentation.demo

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[nnunet,test]'
	touch $@

clean:
	rm -rf .venv demo runs .pytest_cache .mypy_cache .ruff_cache
