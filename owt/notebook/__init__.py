"""Notebooks as documents: what is in them, and what has to run again when they change.

    document     a file's cells: `.ipynb`, or `.py`
    scripts      the cells of a `.py` file
    magics       what is Python in a cell, and what only IPython reads
    names        what each statement binds and uses
    changes      which cells run again after a change
    annotations  cells that are marked as endpoints in the manner of Jupyter Kernel Gateway
    export       a notebook as a plain adaptor file
    command      `owt export`

Nothing here runs any of it.
"""
