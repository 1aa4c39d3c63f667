"""The page where one paints."""
