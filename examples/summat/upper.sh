#!/usr/bin/env bash
# Each of the two pipes reads its own file and gives it back in upper case.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

for file in full.py terse.py; do
  curl --silent --show-error --fail-with-body "$url/" \
    --data-urlencode "code@$here/$file" \
    --data-urlencode "kwargs=$(jq --null-input --arg file "$here/$file" '{$file}')"
done
