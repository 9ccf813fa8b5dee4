"""Kernels compiled by Numba for the CPU.

`compiled` compiles and caches them and says how many threads run them; `tile` is the matrix product
of a tile, of which products and convolutions are made. The other files have the names of the files
with the definitions, one folder up. Importing this package imports Numba: kernels do on first use.
"""
