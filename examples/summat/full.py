from owt import pipe

run = pipe().kwarg("file").open().text().f(str.upper)
