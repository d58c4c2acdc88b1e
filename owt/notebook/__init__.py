"""Notebooks as documents: their cells, and which of them have to run again after a change.

    document       cells of a file, `.ipynb` or `.py`
    gateway_cells  cells that are endpoints in the manner of Jupyter Kernel Gateway
    magics         a cell's Python, and the lines that only IPython reads
    names          the names that each statement binds and uses
    changes        the cells that have to run again after a change
    export         a notebook as a plain adaptor file

This package runs no cell.
"""
