"""From noise to a picture."""
