#!/usr/bin/env bash
# Print a link that carries the code which builds the page from its files at every load.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

jq --null-input --raw-output --arg url "$url" --rawfile code "$here/live.py" --arg folder "$here" '
    def field: @base64 | @uri;
    "\($url)/speech?code_b64=\($code | field)&kwargs_b64=\({$folder} | tojson | field)"
  '
