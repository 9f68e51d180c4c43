"""The engine: everything that is computed is a cell, named by the hash of what made it.

`cells` says what a cell is, `store` keeps results, `computing` fills a store with what is missing.
"""
