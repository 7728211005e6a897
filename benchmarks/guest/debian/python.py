import sys


class Record:
    __slots__ = ("next", "kind", "number", "text")

    def __init__(self, next=None, kind=0, number=0, text=""):
        self.next, self.kind, self.number, self.text = next, kind, number, text

    def copy(self):
        return Record(self.next, self.kind, self.number, self.text)


def first_letter(text, other):
    i = 1
    while i <= 1:
        if text[i] == other[i + 1]:
            letter = "A"
        else:
            letter = text[i]
        i += 1
    return letter < other[0] and text > other


def fill(row, rows, at, value):
    place = at + 5
    row[place] = value
    row[place + 1] = row[place]
    row[place + 30] = place
    for column in range(place, place + 2):
        rows[place][column] = place
    rows[place][place - 1] += 1
    rows[place + 20][place] = row[place]
    return place


def records(rounds):
    row = [0] * 51
    rows = [[0] * 51 for _ in range(51)]
    head = Record(Record(), 1, 40, "DHRYSTONE PROGRAM, SOME STRING")
    total = 0
    for i in range(rounds):
        following = head.next = head.copy()
        following.number = i % 17
        if first_letter("DHRYSTONE, 1", "DHRYSTONE, 2"):
            following.kind = 2
        total += fill(row, rows, i % 11, i) + following.number + following.kind
        for letter in "AB":
            total += ord(letter) * (i & 3)
    return total + sum(map(sum, rows))


def words(rounds):
    counts = {}
    state = 1
    for _ in range(rounds):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        word = "w%d" % (state % 211)
        counts[word] = counts.get(word, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return " ".join("%s:%d" % item for item in ordered[:5]), len(",".join(counts))


def numbers(rounds):
    value = sum(i * i for i in range(rounds) if i % 3)
    large = 1
    for i in range(1, rounds // 20):
        large *= i
    return value, large % 1000003, "%.12e" % sum(1.0 / (i + 1) for i in range(rounds))


percent = int(sys.argv[1])
print(records(1000 * percent // 100), words(1500 * percent // 100), numbers(1500 * percent // 100))
