#!/usr/bin/env bash
# owt inside owt, five deep: each server starts the next one and passes on the inner part of its payload.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

jq --null-input --rawfile next "$here/next.py" --rawfile hello "$here/hello.py" \
  'reduce range(5) as $layer ({code: $hello, kwargs: {name: "owt"}}; {code: $next, kwargs: .})' |
  curl --silent --show-error --fail-with-body "$url/" \
    --header 'Content-Type: application/json' --data-binary @-
