#!/usr/bin/env bash
# Speak the standard input while it is typed, and print each sentence when its sound arrives.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}

# `--silent` is not enough for a file that is read without blocking.
curl --no-progress-meter --fail --no-buffer --upload-file . "$url/?adaptor=speak&fn_name=live" |
  jq --unbuffered --raw-output '"\(.seconds * 10 | round / 10) seconds: \(.sentence)"'
