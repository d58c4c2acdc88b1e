#!/usr/bin/env bash
# A Python file in a POST: as the body, and in base64 as a field of a JSON object.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

curl --silent --show-error --fail-with-body "$url/?name=owt" \
  --header 'Content-Type: text/x-python' --data-binary "@$here/echo.py"

jq --raw-input --slurp '{code_b64: @base64, kwargs_b64: ({name: "JSON"} | tojson | @base64)}' "$here/echo.py" |
  curl --silent --show-error --fail-with-body "$url/" \
    --header 'Content-Type: application/json' --data-binary @-
