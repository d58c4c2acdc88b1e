#!/usr/bin/env bash
# The code and its arguments are text in the URL of a GET.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}

curl --silent --show-error --fail-with-body --get "$url/" \
  --data-urlencode 'code=def run(name): return f"Hello, {name}!\n"' \
  --data-urlencode 'kwargs={"name": "owt"}'
