"""Rows and texts in: readers, splits, unlabelled corpora, and the data of the quickstart."""
