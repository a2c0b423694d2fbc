"""The store itself: no Qt, no lys. Everything here runs without a display."""
