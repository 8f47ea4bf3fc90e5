"""What would make a reconstruction cheaper, for people."""

from __future__ import annotations

from mrirecon.methods.base import Method
from mrirecon.methods.networks import NetworkMethod

# Coils from which compression to so many pays: cg_sense of 640 x 320, 20 coils 1.7 times, 32 coils 3.2 times faster,
# images that differ by 0.7 to 1.0 %.
MANY, FEWER = 20, 12


def compression_hint(coils: int, method: Method | None = None) -> str | None:
    """A sentence on coil compression, where it pays; None where it does not.

    Never for networks: they were trained with all coils. Methods without coil maps gain little.

    Args:
        coils: of the scan, as it is reconstructed.
        method: what reconstructs; None where that is open.
    """
    if coils < MANY or isinstance(method, NetworkMethod):
        return None
    if method is not None and not method.needs.maps:
        return None
    faster = coils / FEWER
    of = "methods with coil maps" if method is None else method.name
    return (
        f"--compress_coils {FEWER} makes {of} about {faster:.1f} times faster on {coils} coils, with images that "
        "differ by about 1 %"
    )
