"""Coil compression is suggested where it pays, and to no network."""

import pytest

from mrirecon.methods import METHODS
from mrirecon.recon.advice import MANY, compression_hint


@pytest.mark.parametrize(
    "name", ["varnet", "humus", "unet", "unrolled_prior", "zero_filled", "grappa"]
)
def test_nothing_is_suggested_to_networks_and_methods_without_maps(name):
    assert compression_hint(64, METHODS[name]()) is None


def test_many_coils_pay_and_few_do_not():
    assert compression_hint(MANY - 1, METHODS["cg_sense"]()) is None
    hint = compression_hint(36, METHODS["cg_sense"]())
    assert "--compress_coils 12" in hint and "cg_sense about 3.0 times" in hint
