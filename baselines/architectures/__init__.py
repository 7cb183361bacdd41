"""Sharing patterns, one file each, over any backbone."""
