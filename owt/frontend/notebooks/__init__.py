"""Notebooks that the server runs, and runs again when their files change.

    documents  notebook files: read before the start, and watched
    notebook   one notebook in its session
    notebooks  all notebooks, and the lookup of endpoints that waits for them
"""
