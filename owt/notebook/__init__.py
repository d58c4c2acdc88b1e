"""Notebooks as documents: their cells, and their export.

    document        cells of a file, `.ipynb` or `.py`
    endpoint_cells  cells that are endpoints in the manner of Jupyter Kernel Gateway
    parsed_cell     a cell's Python, and the lines that only IPython reads
    export          a notebook as a plain adaptor file

This package runs no cell.
"""
