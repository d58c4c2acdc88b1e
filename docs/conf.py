"""Configuration of Sphinx, which builds these pages: `make docs`."""

project = "owt"
copyright = "the owt authors"
html_title = "owt"
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
# Two hyphens are the beginning of an option, not a dash.
smartquotes = False
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# A console session, cells with magics and a Unix shell are shown as they are typed.
highlight_language = "none"
suppress_warnings = ["misc.highlighting_failure"]
exclude_patterns = ["_*"]
