"""PIZ decompression of OpenEXR: Huffman codes of a wavelet transform of 16-bit words.

Based on: F. Kainz, R. Bogart, "Technical Introduction to OpenEXR", and the wavelet and Huffman coders by C. Rosenberg
described there. The Huffman decoder runs in Python, about a second for a million words.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

__all__ = ["unpack_piz"]

_SYMBOLS = (1 << 16) + 1
_LONGEST = 58  # bits of a code
_SHORT_RUN, _LONG_RUN = 59, 63  # code lengths that stand for runs of unused symbols
_TABLE_BITS = 12  # codes up to this length are looked up directly


def unpack_piz(block: bytes, width: int, rows: int, words: Sequence[int]) -> np.ndarray:
    """Words `[rows, width * sum(words)]` uint16 of a block, channel by channel in each row.

    `words` is the number of 16-bit words of a value of each channel: 1 for half, 2 for float and integer. Raises
    ValueError on damaged data.
    """
    if len(block) < 4:
        raise ValueError("a PIZ block is cut off")
    low, high = struct.unpack_from("<HH", block)
    used = np.zeros(1 << 16, bool)
    at = 4
    if low <= high:
        stop = at + high - low + 1
        if high >= 8192 or stop > len(block):
            raise ValueError("a PIZ block has a damaged table of values")
        bits = np.unpackbits(np.frombuffer(block[at:stop], np.uint8), bitorder="little")
        used[low * 8 : low * 8 + len(bits)] = bits
        at = stop
    used[0] = True
    values = np.flatnonzero(used).astype(np.uint16)
    if at + 4 > len(block):
        raise ValueError("a PIZ block is cut off")
    size = struct.unpack_from("<I", block, at)[0]
    count = width * rows * sum(words)
    packed = _decode_huffman(block[at + 4 : at + 4 + size], count)
    if int(packed.max(initial=0)) >= 1 << 16:
        raise ValueError("a PIZ block has a damaged code")
    data = packed.astype(np.uint16)
    planes, start = [], 0
    for number in words:
        stop = start + width * rows * number
        plane = data[start:stop].reshape(rows, width, number)
        for word in range(number):
            _inverse_wavelet(plane[:, :, word], len(values) - 1 < 1 << 14)
        planes.append(plane.reshape(rows, width * number))
        start = stop
    index = np.concatenate(planes, axis=1)
    return values[np.minimum(index, len(values) - 1)]


def _decode_huffman(data: bytes, count: int) -> np.ndarray:
    """`count` symbols, int64."""
    if count == 0:
        return np.zeros(0, np.int64)
    if len(data) < 20:
        raise ValueError("a PIZ block is cut off")
    first, last, _, num_bits, _ = struct.unpack_from("<5I", data)
    if first >= _SYMBOLS or last >= _SYMBOLS or first > last:
        raise ValueError("a PIZ block has a damaged code")
    lengths, at = _code_lengths(data, 20, first, last)
    if num_bits > 8 * (len(data) - at):
        raise ValueError("a PIZ block is cut off")
    table, long_codes = _code_tables(lengths)
    return _read_symbols(data[at:], num_bits, count, last, table, long_codes)


def _code_lengths(data: bytes, at: int, first: int, last: int) -> tuple[np.ndarray, int]:
    """Bits of the code of each symbol, and where the codes start."""
    lengths = np.zeros(_SYMBOLS, np.int64)
    hold, held = 0, 0

    def take(bits: int) -> int:
        nonlocal hold, held, at
        while held < bits:
            if at >= len(data):
                raise ValueError("a PIZ block is cut off")
            hold, held, at = (hold << 8) | data[at], held + 8, at + 1
        held -= bits
        value = (hold >> held) & ((1 << bits) - 1)
        hold &= (1 << held) - 1
        return value

    symbol = first
    while symbol <= last:
        length = take(6)
        if length >= _SHORT_RUN:
            symbol += take(8) + _LONG_RUN - _SHORT_RUN + 2 if length == _LONG_RUN else length - _SHORT_RUN + 2
            if symbol > last + 1:
                raise ValueError("a PIZ block has a damaged code")
        else:
            lengths[symbol] = length
            symbol += 1
    return lengths, at


def _code_tables(lengths: np.ndarray) -> tuple[list[tuple[int, int]], dict[tuple[int, int], int]]:
    """Symbol and length by the next `_TABLE_BITS` bits (length 0: none), and longer codes by (length, code)."""
    counts = np.bincount(lengths, minlength=_LONGEST + 1).tolist()
    start, code = [0] * (_LONGEST + 1), 0
    for length in range(_LONGEST, 0, -1):
        start[length] = code
        code = (code + counts[length]) >> 1
    table = [(0, 0)] * (1 << _TABLE_BITS)
    long_codes: dict[tuple[int, int], int] = {}
    for symbol in np.flatnonzero(lengths).tolist():
        length = int(lengths[symbol])
        code = start[length]
        start[length] += 1
        if code >> length:
            raise ValueError("a PIZ block has a damaged code")
        if length <= _TABLE_BITS:
            shift = _TABLE_BITS - length
            table[code << shift : (code + 1) << shift] = [(symbol, length)] * (1 << shift)
        else:
            long_codes[length, code] = symbol
    return table, long_codes


def _read_symbols(
    data: bytes,
    num_bits: int,
    count: int,
    run_symbol: int,
    table: list[tuple[int, int]],
    long_codes: dict[tuple[int, int], int],
) -> np.ndarray:
    out: list[int] = []
    hold, held, at = 0, 0, 0  # bits not yet used, the next one highest
    left = num_bits
    mask = (1 << _TABLE_BITS) - 1
    while len(out) < count:
        while held < _LONGEST + 8 and at < len(data):
            chunk = data[at : at + 8]
            hold = (hold << (8 * len(chunk))) | int.from_bytes(chunk, "big")
            held += 8 * len(chunk)
            at += len(chunk)
        ahead = hold >> (held - _TABLE_BITS) if held >= _TABLE_BITS else hold << (_TABLE_BITS - held)
        symbol, length = table[ahead & mask]
        if not length:
            for length in range(_TABLE_BITS + 1, min(_LONGEST, held) + 1):
                found = long_codes.get((length, hold >> (held - length)))
                if found is not None:
                    symbol = found
                    break
            else:
                raise ValueError("a PIZ block has a damaged code")
        extra = 8 if symbol == run_symbol else 0
        left -= length + extra
        if left < 0 or held < length + extra:
            raise ValueError("a PIZ block is cut off")
        held -= length
        if extra:
            held -= 8
            run = (hold >> held) & 0xFF
            if not out or len(out) + run > count:
                raise ValueError("a PIZ block has a damaged code")
            out.extend([out[-1]] * run)
        else:
            out.append(symbol)
        hold &= (1 << held) - 1
    return np.asarray(out, np.int64)


def _lift(low: np.ndarray, high: np.ndarray, narrow: bool) -> tuple[np.ndarray, np.ndarray]:
    """The two words that a mean and a difference stand for."""
    if narrow:  # 14 bits: signed arithmetic
        mean, step = low.astype(np.int16).astype(np.int32), high.astype(np.int16).astype(np.int32)
        a = mean + (step & 1) + (step >> 1)
        return a.astype(np.uint16), (a - step).astype(np.uint16)
    mean, step = low.astype(np.int32), high.astype(np.int32)
    b = (mean - (step >> 1)) & 0xFFFF
    return ((step + b - 0x8000) & 0xFFFF).astype(np.uint16), b.astype(np.uint16)


def _inverse_wavelet(plane: np.ndarray, narrow: bool) -> None:
    """Undo the transform of `plane [H, W]` uint16 in place, coarsest level first."""
    height, width = plane.shape
    step = 1
    while 2 * step <= min(height, width):
        step *= 2
    step //= 2
    while step >= 1:
        pair = 2 * step
        rows, columns = height // pair * pair, width // pair * pair
        a, b = plane[0:rows:pair, 0:columns:pair], plane[0:rows:pair, step:columns:pair]
        c, d = plane[step:rows:pair, 0:columns:pair], plane[step:rows:pair, step:columns:pair]
        top_left, bottom_left = _lift(a, c, narrow)
        top_right, bottom_right = _lift(b, d, narrow)
        a[...], b[...] = _lift(top_left, top_right, narrow)
        c[...], d[...] = _lift(bottom_left, bottom_right, narrow)
        if width & step:  # a last column without a partner
            upper, lower = plane[0:rows:pair, columns], plane[step:rows:pair, columns]
            upper[...], lower[...] = _lift(upper, lower, narrow)
        if height & step:
            left, right = plane[rows, 0:columns:pair], plane[rows, step:columns:pair]
            left[...], right[...] = _lift(left, right, narrow)
        step //= 2
