"""KeyboardInterrupts at every point of a public call where CPython can deliver one, and again while the first unwinds."""
