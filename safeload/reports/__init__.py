"""Renderers of reports."""
