# A pipe whose beginning, pipe(), is left out.
kwarg("file").open().text().f(str.upper)
