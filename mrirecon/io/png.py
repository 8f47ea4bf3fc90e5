"""PNG pictures in memory, lossless: eight bits per pixel, as gray levels or with a colour table."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import UInt8


def png_bytes(
    levels: UInt8[np.ndarray, "row column"], colours: UInt8[np.ndarray, "256 3"] | None = None
) -> bytes:
    """A picture of levels 0 to 255 as the bytes of a PNG file; with `colours`, level n has the colour of row n."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(levels))
    if colours is not None:
        picture.putpalette(colours.tobytes())
    stream = io.BytesIO()
    picture.save(stream, format="png", optimize=True)
    return stream.getvalue()
