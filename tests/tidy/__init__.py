"""The checkers behind test_tidy.py: pure functions from a source text to a list of findings.

A finding is the text `<line>: <what is wrong>`. A checker knows nothing of the tree; which files a
rule holds for, and where it lets something pass, stands in test_tidy.py.
"""
