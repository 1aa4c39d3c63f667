"""Where a request is painted."""
