#!/usr/bin/env python3
"""Writes the hand-made seeds of gguf_fuzz: python3 tests/fuzz/make_seeds.py tests/fuzz/corpus/gguf

Each is a small whole GGUF image that shows the reader one thing. Bytes only, so that a seed can also be wrong in ways
that no writer allows. Seeds that the fuzzer found are kept beside them under the names of their defects.
"""

import pathlib
import struct
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
NUMBER = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
# Tensor type id: values and bytes of a block.
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18), 42: (64, 18),
}


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def payload(kind, value):
    if kind == STRING:
        return text(value)
    if kind == ARRAY:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(payload(element, item) for item in items)
    return struct.pack("<" + NUMBER[kind], value)


def gguf(entries=(), tensors=(), version=3, alignment=32):
    """entries: (key, kind, value); tensors: (name, dims, type id). Data are the bytes 0, 1, 2, …"""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    for key, kind, value in entries:
        out += text(key) + struct.pack("<I", kind) + payload(kind, value)
    offset = 0
    for name, dims, type_id in tensors:
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        out += struct.pack("<IQ", type_id, offset)
        values, size = BLOCKS[type_id]
        for dim in dims[1:]:
            size *= dim
        offset += (dims[0] // values * size + alignment - 1) // alignment * alignment
    out += bytes(-len(out) % alignment)
    return out + bytes(i % 256 for i in range(offset))


SEEDS = {
    "empty": gguf(),
    "version2": gguf([("general.architecture", STRING, "mixtral")], [("t", [4], 0)], version=2),
    "numbers": gguf([(f"n.{kind}", kind, 1) for kind in NUMBER] + [("n.minus", I64, -(2**63)), ("n.max", U64, 2**64 - 1)]),
    "strings": gguf([("s.empty", STRING, ""), ("s.utf8", STRING, "grün 室"), ("general.name", STRING, "x" * 300)]),
    "arrays": gguf([(f"a.{kind}", ARRAY, (kind, [0, 1, 1])) for kind in NUMBER] + [("a.none", ARRAY, (U32, []))]),
    "nested": gguf([("a", ARRAY, (ARRAY, [(STRING, ["a", ""]), (ARRAY, [(U8, [1, 2])]), (F32, [])]))]),
    "vocabulary": gguf([
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, [chr(97 + i) * (i % 4) for i in range(26)])),
        ("tokenizer.ggml.scores", ARRAY, (F32, [-float(i) for i in range(26)])),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [1] * 26)),
        ("tokenizer.ggml.merges", ARRAY, (STRING, ["a b", "c d"])),
    ]),
    "alignment64": gguf([("general.alignment", U32, 64)], [("a", [3], 0), ("b", [5, 2], 1)], alignment=64),
    "dims": gguf((), [("d1", [8], 0), ("d2", [4, 2], 0), ("d3", [2, 2, 2], 30), ("d4", [1, 2, 1, 3], 24)]),
    "types": gguf((), [(f"t{type_id}", [values, 1], type_id) for type_id, (values, _) in BLOCKS.items()]),
    "split": gguf([("split.no", U16, 0), ("split.count", U16, 2), ("split.tensors.count", I32, 2)], [("a", [32], 8)]),
    "bad_cut": gguf([("k", STRING, "value")], [("t", [64], 8)])[:-40],
    "bad_key_twice": gguf([("k", U8, 1), ("k", U8, 2)]),
    "bad_tensor_twice": gguf((), [("t", [4], 0), ("t", [4], 0)]),
    "bad_product": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("t") + struct.pack("<I3QIQ", 3, 2**32, 2**31, 4, 0, 0),
    "bad_count": b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60),
    "bad_array": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", ARRAY, STRING, 2**61),
    "bad_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
}

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    for name, image in SEEDS.items():
        (folder / f"{name}.gguf").write_bytes(image)
