"""The page of what was painted."""
