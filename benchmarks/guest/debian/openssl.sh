# A fixed amount of what `openssl speed` does, with its results: digests, ciphers there and back, a large prime.
set -e
head -c $((100000 * $1 / 100)) /usr/lib/x86_64-linux-gnu/libcrypto.so.3 >/tmp/plain
openssl dgst -r -sha256 /tmp/plain
openssl dgst -r -sha512 /tmp/plain
openssl dgst -r -md5 /tmp/plain
for cipher in aes-128-cbc aes-256-ctr chacha20; do
  openssl enc -$cipher -K 000102030405060708090a0b0c0d0e0f -iv 0f0e0d0c0b0a09080706050403020100 \
    -in /tmp/plain -out /tmp/secret 2>/dev/null
  openssl enc -d -$cipher -K 000102030405060708090a0b0c0d0e0f -iv 0f0e0d0c0b0a09080706050403020100 \
    -in /tmp/secret 2>/dev/null | cksum
  openssl dgst -r -sha1 /tmp/secret
done
# RFC 2409 §6.1 "First Oakley Group": exponentiations of 768-bit numbers.
openssl prime -hex FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245\
E485B576625E7EC6F44C42E9A63A3620FFFFFFFFFFFFFFFF
