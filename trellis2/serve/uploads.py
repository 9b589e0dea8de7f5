"""What may be uploaded: pictures and meshes of bounded size, judged by their bytes and never by their names."""

from __future__ import annotations

import io
import warnings

from PIL import Image

from trellis2.utils.image import load_image

__all__ = ["IMAGE_FORMATS", "MESH_FORMATS", "clean_image", "mesh_format"]

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
MESH_FORMATS = ("glb", "ply", "obj", "stl")


def clean_image(data: bytes, max_pixels: int = 1 << 26) -> bytes:
    """A picture as PNG, upright, without metadata (places, cameras, names).

    The size is read from the header and checked before any pixel is decoded.
    Raises ValueError if it is no PNG, JPEG or WebP, is damaged, or has more than `max_pixels` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the check below is the stricter one
            with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as opened:
                width, height = opened.size
                frames = getattr(opened, "n_frames", 1)
    except Image.DecompressionBombError:
        raise ValueError(f"the picture must have at most {max_pixels} pixels") from None
    except Exception:
        raise ValueError(f"the file must be a picture: {', '.join(IMAGE_FORMATS)}") from None
    if width * height > max_pixels:
        raise ValueError(f"the picture must have at most {max_pixels} pixels, got {width} x {height}")
    if frames > 1:
        raise ValueError(f"the picture must not be an animation, got {frames} frames")
    image = load_image(data)
    out = io.BytesIO()
    Image.frombytes(image.mode, image.size, image.tobytes()).save(out, format="PNG", compress_level=1)
    return out.getvalue()


def mesh_format(data: bytes) -> str:
    """Extension, one of `MESH_FORMATS`, that the content of a mesh file calls for. Raises ValueError if none does."""
    if data[:4] == b"glTF":
        return "glb"
    if data[:4] == b"ply\n" or data[:5] == b"ply\r\n":
        return "ply"
    if len(data) >= 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        return "stl"  # binary
    head = data[:4096]
    if b"\0" not in head:
        lines = [line.strip() for line in head.splitlines()]
        if lines and lines[0].startswith(b"solid") and any(line.startswith(b"facet") for line in lines):
            return "stl"
        if any(line.startswith(b"v ") for line in lines):
            return "obj"
    raise ValueError(f"the file must be a mesh: {', '.join(MESH_FORMATS)}")
