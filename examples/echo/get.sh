#!/usr/bin/env bash
# A Python file in a GET, in base64; the adaptor returns the address of its server.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

curl --silent --show-error --fail-with-body --get "$url/" \
  --data-urlencode "code_b64=$(base64 <"$here/where.py")" \
  --data-urlencode "kwargs_b64=$(base64 <<<'{"name": "owt"}')"
