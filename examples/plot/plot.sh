#!/usr/bin/env bash
# A figure as a PNG for curl, as an SVG with an Accept header, and as a link for a browser.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

plot() {
  curl --silent --show-error --fail-with-body "$url/" --write-out '%{filename_effective}: %{content_type}\n' \
    --data-urlencode "code@$here/waves.py" --data-urlencode 'kwargs={"waves": 4}' "$@"
}

plot --output waves.png
plot --output waves.svg --header 'Accept: image/svg+xml'

# The Accept header of a browser, which shows the picture at this address.
link=$url/waves?$(jq --null-input --raw-output --rawfile code "$here/waves.py" '"code_b64=\($code | @base64 | @uri)"')
curl --silent --show-error --fail-with-body --output link.png "$link" --write-out 'the link: %{content_type}\n' \
  --header 'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8'
