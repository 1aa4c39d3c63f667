"""The page where one trains a style."""
