#!/bin/bash
# Upload BYTES bytes (2 GB) to hash.py, and compare its hash with that of sha256sum.
# Neither curl nor the server nor the kernel keeps more of them than a few MB.
set -o pipefail
bytes=${BYTES:-2000000000}
code=$(base64 -w0 "$(dirname "$0")/hash.py" | tr '+/' '-_')
expected=$(head -c "$bytes" /dev/zero | sha256sum)
actual=$(head -c "$bytes" /dev/zero | curl -sSf -T - "$1/?code_b64=$code") || exit
[ "$actual" = "$expected" ] && echo "the hashes are equal"
