"""Program text to something callable.

    cells          cells of notebooks, with IPython's events
    source         the kind of a text, and how it is loaded; adaptors that owt ships
    compiled       compiled texts, and their cache
    adaptor_files  files of adaptors, by which other processes import them
    modules        modules by names that are not defined
    arguments      the text of kwargs to arguments of a function
    syntax         parser
"""
