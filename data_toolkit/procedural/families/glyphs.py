"""A 5 x 7 bitmap alphabet of characters that look different from every side and from each other."""

from __future__ import annotations

import numpy as np

from data_toolkit.procedural.textures import Color, mix, to_u8

__all__ = ["GLYPHS", "glyph_texture"]

_ROWS = {
    "A": ".###. #...# #...# ##### #...# #...# #...#",
    "B": "####. #...# ####. #...# #...# #...# ####.",
    "E": "##### #.... ####. #.... #.... #.... #####",
    "F": "##### #.... ####. #.... #.... #.... #....",
    "G": ".#### #.... #.... #.### #...# #...# .####",
    "H": "#...# #...# ##### #...# #...# #...# #...#",
    "J": "..### ...#. ...#. ...#. ...#. #..#. .##..",
    "K": "#...# #..#. ###.. ###.. #..#. #...# #...#",
    "L": "#.... #.... #.... #.... #.... #.... #####",
    "P": "####. #...# #...# ####. #.... #.... #....",
    "R": "####. #...# #...# ####. ###.. #..#. #...#",
    "S": ".#### #.... #.... .###. ....# ....# ####.",
    "T": "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",
    "U": "#...# #...# #...# #...# #...# #...# .###.",
    "Z": "##### ...## ..##. .##.. ##... #.... #####",
    "2": ".###. #...# ....# ..##. .##.. ##... #####",
    "3": "####. ....# ....# .###. ....# ....# ####.",
    "4": "#..#. #..#. #..#. ##### ...#. ...#. ...#.",
    "5": "##### #.... ####. ....# ....# #...# .###.",
    "7": "##### ....# ...## ..##. ..#.. ..#.. ..#..",
}
GLYPHS: tuple[tuple[str, ...], ...] = tuple(tuple(rows.split()) for rows in _ROWS.values())


def glyph_texture(
    rows: tuple[str, ...], paper: Color, ink: Color, border: Color | None = None, size: int = 64
) -> np.ndarray:
    """Draw a character in the middle of a square picture uint8 [S, S, 3], with a border if a colour is given."""
    cell = size // 10
    mask = np.zeros((size, size))
    bits = np.array([[c == "#" for c in row] for row in rows], float).repeat(cell, 0).repeat(cell, 1)
    y, x = (size - bits.shape[0]) // 2, (size - bits.shape[1]) // 2
    mask[y : y + bits.shape[0], x : x + bits.shape[1]] = bits
    image = mix(paper, ink, mask)
    if border is not None:
        edge = np.ones((size, size), bool)
        edge[5:-5, 5:-5] = False
        image[edge] = border
    return to_u8(image)
