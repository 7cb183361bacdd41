"""Who runs specs where."""
