"""The version of this program: one place, because not every installation carries package metadata."""

VERSION = "0.1.0"
