"""Reports for people and for machines: they render what the stages found, and judge nothing themselves.

Everything in a report may have been chosen by an attacker: paths, names of globals, decompiled code. Rule: every such
text passes through :mod:`safeload.facts.printable` before it is written anywhere but into a JSON string.
"""
