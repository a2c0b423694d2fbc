"""A KeyboardInterrupt at every point of a public call where CPython can deliver one, and a second one while it unwinds."""
