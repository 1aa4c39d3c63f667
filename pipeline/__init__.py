"""One text-to-image request, stage by stage, from the validated request to the encoded picture."""
