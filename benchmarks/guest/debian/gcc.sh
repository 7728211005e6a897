# A C file of ours, optimized and assembled.
set -e
gcc -O2 -std=gnu17 -ffreestanding -fno-asynchronous-unwind-tables -c -o /tmp/program.o /bench/gcc.c
cksum </tmp/program.o
