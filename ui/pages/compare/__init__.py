"""The page where one compares."""
