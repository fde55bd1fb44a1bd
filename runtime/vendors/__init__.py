"""The vendors: one folder each, found through the entry-point group ``landbridge.vendors``."""
