# make demo   train CE and ANL-CE on wrong masks, print both Dice scores (three to seven minutes after installation)
# make test   ruff, mypy, the documentation and the whole test suite; installs nnU-Net, Ray and the tools as well (1.3 GB more)
# make docs   the documentation site in site/; open site/index.html
# make clean  remove the virtual environment and everything the two commands wrote

PYTHON ?= python3
BIN := .venv/bin
PACKAGE := .venv/.package
INSTALLED := .venv/.installed

.PHONY: demo test types suite docs clean

demo: $(PACKAGE)
	$(BIN)/python -m seg_anl.segmentation.demo

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/python -m seg_anl.losses.stubs
	$(MAKE) --no-print-directory --jobs 2 types suite

# What mypy says comes in one piece, as the tests run at the same time.
types: $(INSTALLED)
	@said=$$($(BIN)/mypy 2>&1); status=$$?; echo "$$said"; exit $$status

suite: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

docs: $(INSTALLED)
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env docs site

$(PACKAGE): pyproject.toml
	$(PYTHON) -m venv .venv
	@echo "Installing seg_anl and what it trains with into .venv (6 GB with CUDA's libraries, some minutes)."
	@echo "Without a GPU: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo"
	$(BIN)/python -m pip install --editable .
	touch $@

$(INSTALLED): $(PACKAGE)
	$(BIN)/python -m pip install --quiet --editable '.[nnunet,formats,audit,cluster,tuning,wandb,mlflow,export,docs,test]'
	touch $@

clean:
	rm -rf .venv demo runs site jupyter_execute docs/generated .pytest_cache .mypy_cache .ruff_cache
