"""Vectors into hits."""
