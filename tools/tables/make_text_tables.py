#!/usr/bin/env python3
"""Writes model/text_tables.c and model/text_entities.c from Python's standard library.

usage: tools/tables/make_text_tables.py          (run at the repository root, Python 3.11)

The text clean-up of the reference repairs text that was decoded with a wrong 8-bit encoding. What
its C twin needs as tables comes from three places: the codecs and the Unicode data of Python, the
entity list of HTML5 as Python's html module has it, and the classes of characters below, which say
how likely a character is to stand beside another one in text that is not broken (the behaviour of
ftfy 6.3.1, written down as code points).
"""

import html
import html.entities
import unicodedata

# Order is the bit order of enum sora_text_class.
CLASSES = {
    "C1": "80-9f",
    "BAD": "a4 a6 a8 aa ac af b8 ba 192 2c6-2c7 2d8 2db-2dc 2020-2021 2030 2310 25ca fffd",
    "COMMON": "a0 ad b4 b7 2013-2015 2019 2026",
    "LAW": "a7 b6",
    "CURRENCY": "a2-a3 a5 20a7 20ac",
    "START": "a1 a9 ab bf 384-385 2018 201a 201c 201e 2022 2039 f8ff",
    "END": "ae bb 2dd 201d 203a 2122",
    "NUMERIC": "b1-b3 b5 b9 bc-be d7 f7 2044 2116 2202 2206 220f 2211 221a 221e 2229 222b 2248 "
               "2260-2261 2264-2265",
    "KAOMOJI": "b0 d2-d6 d9-dc f2-f6 f8-fc 14c 150 16a 172",
    "UPPER_ACCENTED": "c0-d1 d8 dc-dd 100 102 104 106 10c 10e 110 112 116 118 11a 11e 122 12a 130 "
                      "136 139 13b 13d 141 143 145 147 152 158 15a 15e 160 162 164 16e 170 "
                      "178-179 17b 17d 490",
    "LOWER_ACCENTED": "df-f1 fc 101 103 105 107 10d 10f 111 113 117 119 11b 11f 123 12b 12f 137 "
                      "13a 13c 13e 142 153 155 15b 15f 161 165 17a 17c 17e 491 fb01-fb02",
    "UPPER_COMMON": "de 386 388-38a 38c 38e-38f 391-3ab 401-42f",
    "LOWER_COMMON": "3ac-3c9 430-45f",
    "BOX": "2502 250c 2510 2518 251c 2524 252c 253c 2550-256c 2580 2584 2588 258c 2590-2593",
}

# Encodings in the order in which they are tried. "sloppy" ones give a byte without a character the
# code point of the same number, and read U+FFFD as byte 1A.
CHARMAPS = [("latin-1", 0), ("windows-1252", 1), ("windows-1251", 1), ("windows-1250", 1),
            ("windows-1253", 1), ("windows-1254", 1), ("windows-1257", 1), ("iso-8859-2", 0),
            ("macroman", 0), ("cp437", 0)]
CLUE_MAPS = [name for name, _ in CHARMAPS[:7]]

# Continuation bytes that often stand for themselves: dashes, quotes, bullet and ellipsis.
NOT_STRICT = {0x2013, 0x2014, 0x2015, 0x2018, 0x2019, 0x201A, 0x201C, 0x201D, 0x201E, 0x2022, 0x2026}


def expand(text):
    for part in text.split():
        first, _, last = part.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def decoded(*bytes_):
    out = set()
    for name in CLUE_MAPS:
        for byte in bytes_:
            char = bytes([byte]).decode(name, "ignore")
            out.update(map(ord, char))
    return out


def class_rows():
    sets = [(name, set(expand(text))) for name, text in CLASSES.items()]
    continuation = decoded(*range(0x80, 0xC0))
    sets += [("LEAD_2", decoded(*range(0xC2, 0xE0))), ("LEAD_3", decoded(*range(0xE0, 0xF0))),
             ("LEAD_4", decoded(0xF0, 0xF3)), ("TRAIL", continuation | {0x20}),
             ("TRAIL_STRICT", continuation - NOT_STRICT)]
    masks = {}
    for bit, (_, members) in enumerate(sets):
        for char in members:
            masks[char] = masks.get(char, 0) | 1 << bit
    rows = []
    for char in sorted(masks):
        if rows and rows[-1][1] == char - 1 and rows[-1][2] == masks[char]:
            rows[-1][1] = char
        else:
            rows.append([char, char, masks[char]])
    return [name for name, _ in sets], rows


def charmap_rows(name, sloppy):
    rows = []
    for byte in range(0x80, 0x100):
        char = bytes([byte]).decode(name, "replace")
        rows.append((byte if sloppy and char == "\ufffd" else ord(char), byte))
    assert len({char for char, _ in rows}) == 128
    return sorted(rows)


def width_rows():
    for char in range(0xFF01, 0xFFF0):
        text = unicodedata.normalize("NFKC", chr(char))
        yield [ord(c) for c in text] + [0] * (2 - len(text))


def entity_rows():
    """(name without ';', code points, whether it also works without ';')."""
    for name in sorted(html.entities.html5):
        if name.endswith(";"):
            text = html.entities.html5[name]
            bare = html.entities.html5.get(name[:-1])
            assert bare in (None, text)
            yield name[:-1], [ord(c) for c in text] + [0] * (2 - len(text)), int(bare is not None)


def upper_rows():
    """Upper case of every character that an entity with a lower-case name stands for."""
    chars = set()
    for name, text in html.entities.html5.items():
        if name.endswith(";") and name == name.lower():
            chars.update(text)
    for char in sorted(chars):
        upper = char.upper()
        if upper != char:
            yield ord(char), [ord(c) for c in upper] + [0] * (3 - len(upper))


def filled(items):
    """Items joined into lines of at most 100 columns."""
    lines, line = [], "   "
    for item in items:
        if len(line) + 1 + len(item) > 100:
            lines.append(line)
            line = "   "
        line += " " + item
    return "\n".join(lines + [line]) + "\n"


def write(path, title, body):
    with open(path, "w", encoding="ascii", newline="\n") as out:
        out.write(f"/* {title}\n * Written by tools/tables/make_text_tables.py. */\n"
                  '#include "model/text_tables.h"\n\n// clang-format off\n\n' + body)


def main():
    names, rows = class_rows()
    body = "/* Classes in bit order: " + ", ".join(names) + ". */\n"
    body = body.replace(", UPPER_ACCENTED", ",\n * UPPER_ACCENTED").replace(", LEAD_2", ",\n * LEAD_2")
    body += "const struct sora_text_range sora_text_ranges[] = {\n"
    body += filled(f"{{0x{a:x}, 0x{b:x}, 0x{mask:x}}}," for a, b, mask in rows) + "};\n"
    body += f"const size_t sora_text_range_count = {len(rows)};\n\n"
    body += ("const struct sora_text_charmap sora_text_charmaps[SORA_TEXT_CHARMAP_COUNT] = {\n")
    for name, sloppy in CHARMAPS:
        body += f'    {{.name = "{name}", .sloppy = {str(bool(sloppy)).lower()}, .chars = {{\n'
        body += filled(f"{{0x{char:x}, 0x{byte:x}}}," for char, byte in charmap_rows(name, sloppy))
        body += "    }},\n"
    body += "};\n\n/* Standard forms of U+FF01 to U+FFEF. */\n"
    body += "const uint16_t sora_text_widths[SORA_TEXT_WIDTH_COUNT][2] = {\n"
    body += filled(f"{{0x{a:x}, 0x{b:x}}}," for a, b in width_rows()) + "};\n\n"
    body += "const struct sora_text_upper sora_text_uppers[] = {\n"
    uppers = list(upper_rows())
    body += filled(f"{{0x{char:x}, {{0x{a:x}, 0x{b:x}, 0x{c:x}}}}}," for char, (a, b, c) in uppers)
    body += f"}};\nconst size_t sora_text_upper_count = {len(uppers)};\n"
    write("model/text_tables.c", "Classes, charmaps and character forms for the text clean-up.", body)

    entities = sorted(entity_rows())
    body = "const struct sora_text_entity sora_text_entities[] = {\n"
    body += filled(f'{{"{name}", {{0x{a:x}, 0x{b:x}}}, {bare}}},' for name, (a, b), bare in entities)
    body += f"}};\nconst size_t sora_text_entity_count = {len(entities)};\n"
    write("model/text_entities.c", "The named character references of HTML5, sorted by name.", body)


if __name__ == "__main__":
    main()
