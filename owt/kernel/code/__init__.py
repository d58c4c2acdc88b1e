"""Program text to something callable.

    source          what a text is, and how it is loaded
    syntax          reading a text as Python does
    arguments       the text of kwargs to arguments
    adaptors        adaptors that come with owt
    injected_names  names that all code has without an import
"""
