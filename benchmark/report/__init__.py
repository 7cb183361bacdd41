"""From data frames to pages."""
