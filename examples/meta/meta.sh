#!/usr/bin/env bash
# owt inside owt: a call starts a second server, sends it hello.py, and returns the answer.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

jq --null-input --rawfile next "$here/next.py" --rawfile hello "$here/hello.py" \
  '{code: $next, kwargs: {code: $hello, kwargs: {name: "owt-inside-owt"}}}' |
  curl --silent --show-error --fail-with-body "$url/" \
    --header 'Content-Type: application/json' --data-binary @-
