"""Networks that enlarge pictures, out of a folder of the operator's."""
