# Two commands do everything on a machine with Python and make: `make demo` and `make test`.
# The same steps by hand stand in README.md.

PYTHON ?= python3
DEMO := .venv
TEST := .venv-test
# Every child of the test run must import the installed wheel, never the tree it stands in.
RUN := OMP_NUM_THREADS=1 PYTHONSAFEPATH=1

.PHONY: help demo test check cluster bench clean

help:
	@echo "make demo    install into $(DEMO), ask the sample scene a question, show where the answer lies"
	@echo "make test    install into $(TEST), build the wheel, test the installed wheel, lint, types"
	@echo "make check   lint and types only"
	@echo "make cluster the tests of --engine ray, on a local cluster"
	@echo "make bench   the benchmarks that need no data"
	@echo "make clean   remove what these made"

$(DEMO)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet -c constraints.txt -e .
	@touch $@

demo: $(DEMO)/installed
	$(DEMO)/bin/geoseg sample --out demo
	$(DEMO)/bin/geoseg segment demo/lakeside/scene.tif "Segment the lake." --out demo/answer --traces demo/traces
	$(DEMO)/bin/geoseg replay demo/traces/*.json

$(TEST)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/pip install --quiet "pip>=25.1"
	$(TEST)/bin/pip install --quiet -c constraints.txt --group dev
	@touch $@

dist/installed: $(TEST)/installed $(shell find geoseg_agent tools prompts -type f -not -name '*.pyc') pyproject.toml README.md
	rm -rf dist
	$(TEST)/bin/python -m build --quiet --wheel --outdir dist .
	$(TEST)/bin/pip install --quiet -c constraints.txt --force-reinstall --no-deps dist/*.whl
	$(TEST)/bin/pip install --quiet -c constraints.txt "$$(echo dist/*.whl)[models]"
	@touch $@

check: $(TEST)/installed dist/installed
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/ruff check .
	$(TEST)/bin/mypy

test: check
	$(RUN) $(TEST)/bin/pytest -n 2 $(ARGS)

cluster: dist/installed
	$(TEST)/bin/pip install --quiet -c constraints.txt --group cluster
	$(RUN) $(TEST)/bin/pytest tests/test_batch_ray.py $(ARGS)

bench: dist/installed
	$(RUN) $(TEST)/bin/python benchmarks/synthetic.py
	$(RUN) $(TEST)/bin/python benchmarks/fuzz_replies.py
	$(RUN) $(TEST)/bin/python benchmarks/coordinates.py
	$(RUN) PYTHONPATH=benchmarks:tests/support $(TEST)/bin/python benchmarks/endpoint.py

clean:
	rm -rf $(DEMO) $(TEST) dist demo
