"""The house: documents that tell the truth, names that exist, sizes that can be read."""
