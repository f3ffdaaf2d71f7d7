"""Divergences: how far is one distribution from another."""
