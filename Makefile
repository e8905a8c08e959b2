# What developers do; each target is a script that also stands on its own.
.PHONY: test coverage lint docs bench lowest

test:    # what CI runs: linters, documentation, tests
	scripts/test.sh
coverage:  # likewise, and the share of the lines that the tests run
	COVERAGE=1 scripts/test.sh
lint:    # style, format, types, who may import whom
	scripts/lint.sh
docs:    # build/docs/index.html
	scripts/docs.sh
bench:   # experiment=quick and its report
	scripts/bench.sh
lowest:  # a part of the tests with the lowest versions that pyproject.toml allows
	scripts/lowest.sh
