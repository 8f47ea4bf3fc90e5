"""Window attention: what is kept of the weights, heads that are widened, all windows in one call."""

import pytest
import torch

from mrirecon.networks import attention
from mrirecon.networks.attention import WindowAttention, corner_masks, kinds_of_windows
from mrirecon.networks.swin import SwinBlock


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = WindowAttention(20, window=4, heads=2, masks=corner_masks(4, 2))
    torch.nn.init.normal_(layer.relative_position_bias_table)
    return layer


@pytest.fixture
def tokens():
    return torch.randn(8, 16, 20, generator=torch.Generator().manual_seed(1))


def by_formula(layer, x, kinds):
    """softmax(q k / sqrt(d) + bias + mask) v, written out."""
    q, k, v = layer.qkv(x).reshape(len(x), 16, 3, 2, 10).permute(2, 0, 3, 1, 4)
    table = layer.relative_position_bias_table[layer.relative_position_index].permute(2, 0, 1)
    logits = q @ k.mT / 10**0.5 + table + layer.masks[kinds][:, None]
    return layer.proj((logits.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))


def test_each_window_has_its_mask(layer, tokens):
    kinds = kinds_of_windows(2, 4)
    assert kinds.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]
    torch.testing.assert_close(layer(tokens, kinds), by_formula(layer, tokens, kinds))
    with torch.no_grad():
        torch.testing.assert_close(layer(tokens, 2), by_formula(layer, tokens, torch.full((8,), 2)))


def test_widened_heads_change_nothing(layer, tokens, monkeypatch):
    """The weights for a GPU, whose kernels take heads of 12 and not of 10, used here."""
    kinds = kinds_of_windows(2, 4)
    expected = by_formula(layer, tokens, kinds)
    monkeypatch.setattr(attention, "_missing", lambda width, x: -width % 4)
    assert layer._prepare(tokens).qkv[0].shape == (3 * 2 * 12, 20)
    torch.testing.assert_close(layer(tokens, kinds), expected)


@torch.no_grad()
def test_what_is_kept_follows_the_weights(layer, tokens):
    assert torch.equal(layer(tokens), layer(tokens))
    made = layer._kept[1]
    layer(tokens)
    assert layer._kept[1] is made  # kept
    for change in (
        lambda: layer.relative_position_bias_table.add_(torch.randn(49, 2)),
        lambda: layer.load_state_dict(
            {k: 1.5 * v for k, v in layer.state_dict().items() if v.is_floating_point()},
            strict=False,
        ),
        lambda: layer.proj.weight.mul_(2),
        lambda: setattr(layer.qkv, "weight", torch.nn.Parameter(layer.qkv.weight * 0.5)),
    ):
        before = layer(tokens)
        change()
        assert not torch.allclose(layer(tokens), before)
        torch.testing.assert_close(layer(tokens), by_formula(layer, tokens, torch.zeros(8).long()))
    assert set(layer.state_dict()) == {
        "relative_position_bias_table",
        "relative_position_index",
        "qkv.weight",
        "qkv.bias",
        "proj.weight",
        "proj.bias",
    }
    low = layer.double()(tokens.double())
    assert low.dtype == torch.float64


@torch.no_grad()
def test_all_windows_in_one_call(monkeypatch):
    """As on a GPU, and as one mask after the other on the CPU."""
    torch.manual_seed(0)
    block = SwinBlock(8, (8, 8), heads=2, window=4, shift=2, mlp_ratio=2.0)
    x = torch.randn(2, 8, 12, 8)
    expected = block(x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(block(x), expected)
