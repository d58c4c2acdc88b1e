#!/usr/bin/env bash
# A session keeps its variables from call to call, until it is deleted.
set -euo pipefail
url=${1:-${OWT_URL:-http://127.0.0.1:9876}}
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
name=example-$$

call() {
  curl --silent --show-error --fail-with-body "$url/" --header "Owt-Session: $name" --data-urlencode "$1"
}

call 'code=x = 41'
echo "x + 1 is $(call 'code=x + 1')"

# Adaptors share the session through `state`.
for _ in 1 2 3; do
  echo "the adaptor $(call "code@$here/counter.py")"
done
echo "the variable itself is $(call 'code=count')"

# Show the session, then delete it.
curl --silent --show-error --fail-with-body "$url/_owt/sessions/$name" |
  jq --raw-output '"the session is \(.state), its kernelspec is \(.kernel)"'
curl --silent --show-error --fail-with-body --output /dev/null --request DELETE "$url/_owt/sessions/$name"
curl --silent --show-error --fail-with-body "$url/_owt/sessions" |
  jq --raw-output --arg name "$name" '"sessions of this name: \([.sessions[] | select(.name == $name)] | length)"'
