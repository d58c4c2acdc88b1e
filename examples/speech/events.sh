#!/usr/bin/env bash
# Speak TEXT and print each sentence when it arrives, while the next ones are still being made.
set -euo pipefail
if (($# != 2)); then
  echo "usage: ${0##*/} URL TEXT" >&2
  exit 2
fi
url=$1 text=$2

jq --null-input --arg text "$text" '{adaptor: "speak", kwargs: {text: $text}}' |
  curl --silent --show-error --fail-with-body --no-buffer "$url/" \
    --header 'Content-Type: application/json' --data-binary @- |
  while IFS= read -r line; do
    case $line in
      'data: [DONE]') echo 'done' ;;
      'data: '*) jq --raw-output '"\(.seconds * 10 | round / 10) seconds: \(.sentence)"' <<<"${line#data: }" ;;
      '') ;;
      *) echo "$line" >&2 ;;
    esac
  done
