import hashlib

from owt import request


def run():
    digest = hashlib.sha256()
    while part := request.stream.read(1 << 20):
        digest.update(part)
    return f"{digest.hexdigest()}  -\n"
