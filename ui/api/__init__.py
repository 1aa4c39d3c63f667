"""The endpoints, and how programs and agents are told of them."""
