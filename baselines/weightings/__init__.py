"""Weightings, one file each."""
