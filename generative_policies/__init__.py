"""Flow-matching and MLP models that carry robot policies from one robot to another.

This module imports nothing, so that each subpackage loads only what it needs.
"""
