#!/usr/bin/env bash
# Print a link that carries the whole page: the scripts are in the page, and the page is in the URL.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

jq --null-input --raw-output --arg url "$url" --rawfile page "$here/speech.html" \
  --rawfile speech "$here/speech.js" --rawfile owt "$here/../clients/owt.js" '
    def script: "data:text/javascript;base64,\(@base64)";
    def field: @base64 | @uri;
    $page | sub("\\./speech\\.js"; $speech | script) | sub("\\.\\./clients/owt\\.js"; $owt | script)
    | "\($url)/speech?code=\("lambda page: page" | @uri)&kwargs_b64=\({page: .} | tojson | field)"
  '
