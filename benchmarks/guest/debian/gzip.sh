# Machine code, compressed and uncompressed again.
set -e
head -c $((800000 * $1 / 100)) /usr/lib/x86_64-linux-gnu/libcrypto.so.3 >/tmp/plain
gzip -n -c /tmp/plain >/tmp/packed
gzip -d -c /tmp/packed | cksum
cksum </tmp/packed
