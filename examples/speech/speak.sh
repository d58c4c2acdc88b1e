#!/usr/bin/env bash
# Speak TEXT into the file OUT, a WAV of 16-bit mono samples.
set -euo pipefail
if (($# != 3)); then
  echo "usage: ${0##*/} URL TEXT OUT.wav" >&2
  exit 2
fi
url=$1 text=$2 out=$3

# The WAV is streamed, so its header (44 bytes) has no length; the length follows from the file's size.
# The voice speaks 22,050 samples a second, two bytes each.
size=$(
  jq --null-input --arg text "$text" '{adaptor: "speak", kwargs: {text: $text, format: "wav"}}' |
    curl --silent --show-error --fail "$url/" --header 'Content-Type: application/json' --data-binary @- \
      --output "$out" --write-out '%{size_download}'
)
jq --null-input --raw-output --arg out "$out" --argjson size "$size" \
  '"\($out): \(($size - 44) / 2 / 22050 * 10 | round / 10) seconds"'
