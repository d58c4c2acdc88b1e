"""Notebooks that the server runs, and runs again when they change.

    documents  notebook files, read at the start
    notebook   one notebook and its session
    notebooks  all of them
"""
