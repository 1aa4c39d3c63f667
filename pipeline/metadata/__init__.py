"""What a picture file says of itself: written, read, restored."""
