# What pystone does: records, characters, lists, calls; then dictionaries, strings, generators and large integers.
exec python3 -I -S -B /bench/python.py "$1"
