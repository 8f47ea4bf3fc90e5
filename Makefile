# Figures of the documentation with their records, and the site.
.PHONY: figures site
figures:
	python docs/figures.py
site:
	mkdocs build --strict
