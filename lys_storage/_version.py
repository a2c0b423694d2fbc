"""The version of this package, which the build reads from here."""

VERSION = "0.1.0"
