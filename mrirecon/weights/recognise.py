"""The network and the configuration of a published state dict, derived from the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

from mrirecon.weights.card import TrainingRange
from mrirecon.weights.checkpoint import State

Config = dict[str, Any]


@dataclass(frozen=True)
class Recogniser:
    """How an architecture is recognised and configured; a new one is an entry of RECOGNISERS.

    Attributes:
        network: key of `mrirecon.networks.MODELS`.
        mark: beginning of a tensor name that every state dict of this network has, and none of another one.
        configure: state dict -> constructor arguments.
        unseen: constructor arguments (with published values) that change the output but not the tensors.
        inside: prefix of the published names in this project's network.
    """

    network: str
    mark: str
    configure: Callable[[State], Config]
    unseen: Mapping[str, Any] = field(default_factory=dict)
    inside: str = ""


def recognise(state: State) -> Recogniser:
    """The recogniser whose `mark` a state dict has.

    Raises:
        ValueError: if no known network has such names.
    """
    for recogniser in RECOGNISERS:
        if any(name.startswith(recogniser.mark) for name in state):
            return recogniser
    known = ", ".join(r.network for r in RECOGNISERS)
    first = next(iter(state), None)
    raise ValueError(
        f"its {len(state)} tensors (the first is {first!r}) belong to no known network ({known})"
    )


def configuration(
    recogniser: Recogniser, state: State, hyper_parameters: Mapping[str, Any]
) -> tuple[Config, tuple[str, ...]]:
    """Constructor arguments, and the names of those that cannot be derived from the file.

    Args:
        recogniser: recogniser of the network.
        state: name -> tensor.
        hyper_parameters: values stored with the weights, which take the place of published ones.

    Raises:
        ValueError: if names, shapes and hyper-parameters contradict each other, or do not determine an argument.
    """
    stated = {name: _listed(value) for name, value in hyper_parameters.items() if value is not None}
    config = recogniser.configure(state)
    for name, value in config.items():
        said = stated.get(name, value)
        said = [said, said] if isinstance(value, list) and isinstance(said, int) else said
        if value is None and name not in stated:
            raise ValueError(
                f"its shapes do not tell {name}, and no hyper-parameters travel with it"
            )
        if value is not None and not _agree(value, said):
            raise ValueError(f"its hyper-parameters say {name} = {said}, its shapes {value}")
        config[name] = said
    # For arguments that do not change the tensors, None is a value too.
    said_too = {
        name: _listed(hyper_parameters[name])
        for name in recogniser.unseen
        if name in hyper_parameters
    }
    assumed = tuple(name for name in recogniser.unseen if name not in said_too)
    return {**config, **recogniser.unseen, **said_too}, assumed


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _agree(found: Any, said: Any) -> bool:
    if isinstance(found, float) and isinstance(said, (int, float)):
        return abs(found - said) < 0.02 * found  # a ratio of sizes that were rounded down
    return found == said


def _size(state: State, name: str, axis: int) -> int:
    if name not in state:
        raise ValueError(f"it has no {name!r}")
    if state[name].ndim <= axis:
        raise ValueError(f"{name!r} has only {state[name].ndim} axes")
    return state[name].shape[axis]


def _count(state: State, before: str) -> int:
    """Number of different name components directly after the prefix `before`."""
    return len({name[len(before) :].partition(".")[0] for name in state if name.startswith(before)})


def _unet(state: State, prefix: str = "") -> tuple[int, int, int, int]:
    """Channels in and out, channels at full resolution, pooling levels."""
    first = f"{prefix}down_sample_layers.0.layers.0.weight"
    pools = _count(state, f"{prefix}down_sample_layers.")
    outputs = _size(state, f"{prefix}up_conv.{pools - 1}.1.weight", 0)
    return _size(state, first, 1), outputs, _size(state, first, 0), pools


def _unet_baseline(state: State) -> Config:
    inputs, outputs, chans, pools = _unet(state)
    if (inputs, outputs) != (1, 1):
        raise ValueError(
            f"its U-Net takes {inputs} channel(s) and gives {outputs}, the baseline takes and gives 1"
        )
    return {"chans": chans, "num_pool_layers": pools}


def _unrolled(state: State) -> Config:
    """Arguments that VarNet and HUMUS-Net share: cascades and sensitivity network."""
    _, _, chans, pools = _unet(state, "sens_net.norm_unet.unet.")
    cascades = _count(state, "cascades.")
    return {"num_cascades": cascades, "sens_chans": chans, "sens_pools": pools}


def _varnet(state: State) -> Config:
    _, _, chans, pools = _unet(state, "cascades.0.model.unet.")
    return {**_unrolled(state), "chans": chans, "pools": pools}


def _humus(state: State) -> Config:
    def size(name: str, axis: int = 0) -> int:
        return _size(state, model + name, axis)

    def has(name: str) -> bool:
        return model + name in state

    model = "cascades.0.model."
    attention = "residual_group.blocks.0.attn.relative_position_bias_table"
    embed, levels = size("patch_embed.norm.weight"), _count(state, f"{model}layers_down.")
    down = [f"layers_down.{level}." for level in range(levels)]
    downsample_first = has("conv_down_block.layers.0.weight")
    # The projection of a patch has patch^2 times as many inputs as outputs.
    patch = (
        isqrt(size("patch_embed.proj.weight", 1) // embed) if has("patch_embed.proj.weight") else 1
    )
    window = isqrt(size(f"{down[0]}residual_group.blocks.0.attn.relative_position_index"))
    blocks = [_count(state, f"{model}{level}residual_group.blocks.") for level in down]
    return {
        **_unrolled(state),
        "num_adj_slices": size("conv_first.weight", 1) // 2,
        "img_size": _image_size(state, window, patch * (1 + downsample_first)),
        "patch_size": patch,
        "window_size": window,
        "embed_dim": embed,
        "depths": blocks,
        "num_heads": [size(level + attention, 1) for level in down],
        "mlp_ratio": size(f"{down[0]}residual_group.blocks.0.mlp.fc1.weight") / embed,
        "bottleneck_depth": _count(state, f"{model}layer_bottleneck.residual_group.blocks."),
        "bottleneck_heads": size("layer_bottleneck." + attention, 1),
        "resi_connection": "3conv" if has("layer_bottleneck.conv.0.weight") else "1conv",
        "conv_downsample_first": downsample_first,
    }


def _image_size(state: State, window: int, pixels_per_token: int) -> list[int] | None:
    """[y, x] from the attention mask of the first shifted block; None if there is no such block.

    It has one entry per window, row by row, and differs from zero in the last row and column of windows only.
    """
    mask = state.get("cascades.0.model.layers_down.0.residual_group.blocks.1.attn_mask")
    if mask is None:
        return None
    edge = mask.flatten(1).any(dim=1).nonzero()
    columns = int(edge[0]) + 1 if len(edge) else 0
    if not columns or len(mask) % columns:
        return None
    return [n * window * pixels_per_token for n in (len(mask) // columns, columns)]


def _ncsnpp(state: State) -> Config:
    def is_a(number: int, layer: str) -> bool:
        return f"all_modules.{number}.{layer}" in state

    # After the embeddings and the first convolution, each level has residual blocks, some followed by attention, then
    # one more block and a layer of the input pyramid that lead to the next level.
    numbers = range(4, _count(state, "all_modules."))
    first = [4, *(number + 1 for number in numbers if is_a(number, "Conv2d_0.weight"))]
    blocks = sum(is_a(number, "Conv_0.weight") for number in numbers)
    features = _size(state, "all_modules.0.W", 0)
    sigmas = state.get("sigmas")
    if sigmas is None or sigmas.ndim != 1 or len(sigmas) < 2:
        raise ValueError("it has no list of noise levels 'sigmas'")
    return {
        "channels": _size(state, "all_modules.3.weight", 1),
        "nf": features,
        "ch_mult": [
            _size(state, f"all_modules.{number}.Conv_0.weight", 0) // features for number in first
        ],
        # Blocks per level: n + 1 on the way down (n on the last), n + 2 on the way up; two in the middle.
        "num_res_blocks": (blocks // len(first) - 3) // 2,
        "attention_levels": [
            level for level, number in enumerate(first) if is_a(number + 1, "NIN_0.W")
        ],
        "sigma_min": float(f"{float(sigmas[-1]):.6g}"),
        "sigma_max": float(f"{float(sigmas[0]):.6g}"),
        "num_scales": len(sigmas),
    }


def _adm(state: State) -> Config:
    channels = _size(state, "input_blocks.0.0.weight", 1)
    features = _size(state, "time_embed.0.weight", 1)
    outputs = _count(state, "output_blocks.")
    # On the way up, a level ends with a layer that doubles the resolution: a second block or a convolution.
    doubled = [
        [f"output_blocks.{number}.{place}.{layer}.weight" for place in (1, 2)]
        for number in range(outputs)
        for layer in ("in_layers.0", "conv")
    ]
    levels = 1 + sum(any(name in state for name in names) for names in doubled)
    per_level = max(
        1, outputs // levels
    )  # as on the way down, where the last one halves the resolution
    first = [f"input_blocks.{1 + per_level * level}." for level in range(levels)]
    widths = [_size(state, f"{name}0.out_layers.3.weight", 0) for name in first]
    return {
        "channels": channels,
        "num_channels": features,
        "channel_mult": [
            width / features if width % features else width // features for width in widths
        ],
        "num_res_blocks": per_level - 1,
        "attention_levels": [
            level for level, name in enumerate(first) if f"{name}1.qkv.weight" in state
        ],
        "learn_sigma": _size(state, "out.2.weight", 0) == 2 * channels,
        "resblock_updown": not any(name.endswith(".op.weight") for name in state),
        "use_scale_shift_norm": _size(state, f"{first[0]}0.emb_layers.1.weight", 0)
        == 2 * widths[0],
    }


RECOGNISERS = (
    Recogniser("unet", "down_sample_layers.", _unet_baseline, inside="unet."),
    Recogniser("varnet", "cascades.0.model.unet.", _varnet),
    Recogniser("humus", "cascades.0.model.conv_first.", _humus, {"no_residual_learning": False}),
    Recogniser("ncsnpp", "all_modules.0.W", _ncsnpp),
    Recogniser(
        "adm",
        "input_blocks.0.0.",
        _adm,
        {
            "num_head_channels": 64,
            "num_heads": 4,
            "num_heads_upsample": None,
            "use_new_attention_order": False,
        },
    ),
)

_FASTMRI = "fastMRI (Zbontar et al. 2018, arXiv:1811.08839; Knoll et al. 2020)"
_VARNET = "E2E-VarNet (Sriram et al. 2020, arXiv:2004.06688)"
_SCORE_MRI = "Score-MRI (Chung & Ye 2022, arXiv:2110.05243)"
_DDS = "DDS (Chung, Lee & Ye 2024, arXiv:2303.05754)"
# Bright level of images with maximum 1; it was 1 / 1.96 and 1 / 1.99 in two brains (fully sampled, well reconstructed).
_OF_MAXIMUM_1 = 0.5
_R4_R8: dict[str, Any] = {"accelerations": (4.0, 8.0), "center_fractions": (0.08, 0.04)}

# What is known about published files beyond their tensors, by network and file name (two files have the same name).
PUBLISHED: dict[tuple[str, str], dict[str, Any]] = {
    ("varnet", "knee_leaderboard_state_dict.pt"): {
        "data": "fastMRI multi-coil knee",
        "attribution": f"{_VARNET}; {_FASTMRI}",
        "training": TrainingRange(masks=("fastmri_random",), coils=(15, 15), **_R4_R8),
    },
    ("varnet", "brain_leaderboard_state_dict.pt"): {
        "data": "fastMRI multi-coil brain",
        "attribution": f"{_VARNET}; {_FASTMRI}",
        "training": TrainingRange(masks=("fastmri_equispaced_fraction",), **_R4_R8),
    },
    ("unet", "knee_sc_leaderboard_state_dict.pt"): {
        "data": "fastMRI single-coil knee",
        "attribution": _FASTMRI,
        "training": TrainingRange(coils=(1, 1)),
    },
    ("unet", "knee_mc_leaderboard_state_dict.pt"): {
        "data": "fastMRI multi-coil knee",
        "attribution": _FASTMRI,
        "training": TrainingRange(coils=(15, 15)),
    },
    ("unet", "brain_leaderboard_state_dict.pt"): {
        "data": "fastMRI multi-coil brain",
        "attribution": _FASTMRI,
    },
    ("ncsnpp", "checkpoint_95.pth"): {
        "data": "fastMRI knee, magnitude images of 320 x 320 between 0 and 1",
        "attribution": f"{_SCORE_MRI}; {_FASTMRI}",
        "bright_level": _OF_MAXIMUM_1,
    },
    ("adm", "fastmri_knee_320_complex_1m.pt"): {
        "data": "fastMRI knee, complex images of 320 x 320",
        "attribution": f"{_DDS}; {_FASTMRI}",
        "bright_level": _OF_MAXIMUM_1,
        "notes": ("intensities of its images are not published: taken for those of Score-MRI",),
    },
    ("adm", "AAPM256_1M.pt"): {
        "data": "AAPM low-dose CT, images of 256 x 256: no MRI",
        "attribution": _DDS,
    },
}
