"""Agents."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from parity.case import Case, Orthogonal, truncated
from parity.standins import kind, laws, torch_default, tree

__all__ = ["CASES"]


def mlp(*sizes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def continuous() -> nn.Module:
    return tree({"critic": mlp(17, 64, 64, 1), "actor_mean": mlp(17, 64, 64, 6)}, kind("Agent", actor_logstd=(1, 6)))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 32, 8), nn.ReLU(), nn.Conv2d(32, 64, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 96)
    )


def atari(lstm: bool) -> nn.Module:
    parts: dict[str, nn.Module] = {"network": convolutions()}
    if lstm:
        parts["lstm"] = nn.LSTM(96, 32)
    width = 32 if lstm else 96
    return tree({**parts, "actor": nn.Linear(width, 4), "critic": nn.Linear(width, 1)})


def stable() -> nn.Module:
    return tree(
        {
            "features_extractor.cnn": convolutions()[:5],  # type: ignore[index]
            "features_extractor.linear.0": nn.Linear(64, 96),
            "mlp_extractor.policy_net": mlp(96, 64, 64),
            "mlp_extractor.value_net": mlp(96, 64, 64),
            "action_net": nn.Linear(64, 6),
            "value_net": nn.Linear(64, 1),
            "lstm": nn.LSTM(96, 64),
        },
        kind("ActorCriticPolicy", log_std=6),
    )


def baselines() -> nn.Module:
    return tree(
        {
            "c1": nn.Conv2d(4, 32, 8),
            "fc1": nn.Linear(64, 96),
            "mlp_fc0": nn.Linear(17, 64),
            "pi": nn.Linear(64, 6),
            "vf": nn.Linear(64, 1),
            "q": nn.Linear(64, 6),
        },
        kind("Policy", logstd=(1, 6)),
    )


LENGTHS = {
    "res_block": (1 / math.sqrt(3) / math.sqrt(2)) ** 0.5,
    "actor": 0.1,
    "critic": 0.1,
    "conv": 1.0,
    "network": 1.4,
}


def procgen() -> nn.Module:
    """layer_init_normed over torch's defaults: each unit's weights divided by their length."""
    model = tree(
        {
            "network.0.conv": nn.Conv2d(3, 32, 3),
            "network.0.res_block0.conv0": nn.Conv2d(32, 32, 3),
            "network.0.res_block0.conv1": nn.Conv2d(32, 32, 3),
            "network.5": nn.Linear(96, 256),
            "actor": nn.Linear(256, 15),
            "critic": nn.Linear(256, 1),
            "aux_critic": nn.Linear(256, 1),
        }
    )
    layer: Any
    for name, layer in model.named_modules():
        if hasattr(layer, "weight") and not layer.weight.is_meta:
            length = next(value for key, value in LENGTHS.items() if key in name)
            with torch.no_grad():
                axes = tuple(range(1, layer.weight.ndim))
                layer.weight *= length / layer.weight.norm(dim=axes, p=2, keepdim=True)
                layer.bias.zero_()
    return model


def dreamer() -> nn.Module:
    return tree(
        {
            "enc.cnn0": nn.Conv2d(3, 48, 5),
            "enc.cnn0norm": kind("RMSNorm", weight=48),
            "dyn.dynin0": nn.Linear(96, 128),
            "dyn.action": nn.Embedding(64, 96),
            "rew.mlp.linear0": nn.Linear(128, 96),
            "rew.head": nn.Linear(96, 255),
            "val.head": nn.Linear(96, 255),
            "pol.mlp.linear0": nn.Linear(128, 96),
            "pol.head": nn.Linear(96, 96),
        }
    )


def lecun(scale: float = 1.0) -> Any:
    return lambda shape, *_: truncated(scale / math.sqrt(math.prod(shape[1:])), corrected=True)


SEEDS = 8
ROOT_TWO = Orthogonal(math.sqrt(2))

CASES = (
    Case(
        preset="ppo_cleanrl",
        model="ppo_continuous_action.py",
        build=continuous,
        stated=laws(
            {
                r"bias|logstd": 0.0,
                r"actor_mean\.4": Orthogonal(0.01),
                r"critic\.4": Orthogonal(1),
                r"": ROOT_TWO,
            }
        ),
        seeds=SEEDS,
    ),
    *(
        Case(
            preset="ppo_cleanrl",
            model=f"ppo_atari{'_lstm' if lstm else ''}.py",
            build=(lambda: atari(lstm=True)) if lstm else (lambda: atari(lstm=False)),
            stated=laws(
                {
                    r"bias": 0.0,
                    r"actor": Orthogonal(0.01),
                    r"critic": Orthogonal(1),
                    r"lstm": Orthogonal(1),
                    r"": ROOT_TWO,
                }
            ),
            seeds=SEEDS,
            slow=not lstm,
        )
        for lstm in (False, True)
    ),
    Case(preset="ppg_cleanrl", model="ppg_procgen.py", build=procgen, rewritten=True, seeds=40),
    Case(
        preset="ppo_sb3",
        model="ActorCriticPolicy",
        build=stable,
        stated=laws(
            {
                r"lstm": torch_default,
                r"bias|log_std": 0.0,
                r"action_net": Orthogonal(0.01),
                r"^value_net": Orthogonal(1),
                r"": ROOT_TWO,
            }
        ),
        seeds=SEEDS,
    ),
    Case(
        preset="ppo_baselines",
        model="PPO2's layers",
        build=baselines,
        stated=laws({r"bias|logstd": 0.0, r"pi": Orthogonal(0.01), r"vf|^q": Orthogonal(1), r"": ROOT_TWO}),
        seeds=SEEDS,
    ),
    Case(
        preset="dreamerv3",
        model="DreamerV3's layers",
        build=dreamer,
        stated=laws(
            {
                r"norm": 1.0,
                r"bias|(rew|val)\.head": 0.0,
                r"pol\.head": lecun(0.01),
                r"": lecun(),  # of the table too, whose rows are as wide as its fan_out
            }
        ),
    ),
)
