"""Notebooks as documents: their cells, and which of them have to run again after a change.

    document        cells of a file, `.ipynb` or `.py`
    endpoint_cells  cells that are endpoints in the manner of Jupyter Kernel Gateway
    parsed_cell     a cell's Python, and the lines that only IPython reads
    statements      the statements of a cell, with the names that they bind and use
    changes         the cells that have to run again after a change
    export          a notebook as a plain adaptor file

This package runs no cell.
"""
