"""Abacus, an example of a vendor: blobs that say "multiply by this and add that", and a device that does so."""

from landbridge_abacus.vendor import AbacusVendor, make_blob

__all__ = ["AbacusVendor", "make_blob"]
