# Two commands for a newcomer: `make demo` and `make test`. Everything lands in .venv of this folder.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: demo test check lint docs bench wheel sbom audit clean

$(VENV)/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e .
	$(BIN)/vastus warm
	@touch $@

$(VENV)/test: $(VENV)/core
	$(BIN)/python -m pip install --quiet -e '.[train,dicom,batch,annotate,documents,test,docs]'
	@touch $@

$(VENV)/lint: $(VENV)/test
	$(BIN)/python -m pip install --quiet -e '.[lint]'
	@touch $@

demo: $(VENV)/core  ## segment a synthetic sample scan with the shipped weights
	$(BIN)/vastus segment examples/sample_scan.nii.gz -o demo-out
	@echo "Open the page: $(CURDIR)/demo-out/report.html"

# A worker that dies ends the run, which names its test: with a new one in its place, --dist loadfile can wait for ever.
test: $(VENV)/test  ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

check: lint  ## lint, types and the tests that are not slow
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -m "not slow"

lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/test
	$(BIN)/mkdocs build --strict

bench: $(VENV)/test
	$(BIN)/python benchmarks/run.py

wheel: $(VENV)/core  ## build the package and look into it
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python tools/check_wheel.py dist/vastus-*.whl

sbom: $(VENV)/core  ## list of all packages and licences, CycloneDX
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet cyclonedx-bom
	$(VENV)-audit/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-file sbom.cdx.json
	@echo "sbom.cdx.json"

audit: $(VENV)/core  ## known weaknesses of the installed packages; asks a public database
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet pip-audit
	$(VENV)-audit/bin/pip-audit --path $$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")

clean:
	rm -rf $(VENV) $(VENV)-audit dist demo-out site sbom.cdx.json src/vastus/compiled_loops
