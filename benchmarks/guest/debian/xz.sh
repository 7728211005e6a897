# A Python source, compressed and uncompressed again.
set -e
head -c $((150000 * $1 / 100)) /usr/lib/python3.11/_pydecimal.py >/tmp/plain
xz -2 -c /tmp/plain >/tmp/packed
xz -d -c /tmp/packed | cksum
cksum </tmp/packed
