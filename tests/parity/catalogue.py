"""The catalogue of presets, from the comments of their files: `make presets` writes it to docs/presets.md.

From the top of a checkout: ``PYTHONPATH=tests python -m parity.catalogue > docs/presets.md``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping

from preset_kinds import GENERIC, REFERENCE

import initpolicy as ip
from initpolicy.files import conf_folder
from parity.report import table

__all__ = ["FIELDS", "about", "main"]

FIELDS = ("Source", "Paper", "Leaves alone", "Quirks")

PREFACE = """\
# Presets

`init=NAME` takes one with Hydra, `ip.apply_policy(model, "NAME")` without. The first table's are ways to initialize any
model. The second's are what one library, paper or program does, for models with its own names of modules; each is held
against its reference, parameter by parameter ([parity.md](parity.md)). Their files in `conf/init` say where they were
read, what the reference leaves alone, and what is odd about it. What it leaves at torch's defaults they state too, by
extending `torch_default`, so that a model built on the meta device has all its values.

The same law for a model of your own: extend the preset, and say which modules its rules are about, or what its numbers
are.

```yaml
# conf/init/mine.yaml
defaults: [beit_timm, _self_]
name: mine
vars: {std: 0.015}
rules:
  tokens: {match: {type: Encoder}}
  branch_ends: {match: {name: 'layers\\.(?P<layer>\\d+)\\.(attention\\.out|mlp\\.down)$'}}
```

<!-- python
import torch
from torch import nn
import initpolicy as ip


def block(width):
    attention = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "out": nn.Linear(width, width)})
    mlp = nn.ModuleDict({"up": nn.Linear(width, 4 * width), "down": nn.Linear(4 * width, width)})
    return nn.ModuleDict({"attention": attention, "mlp": mlp})


class Encoder(nn.Module):
    def __init__(self, width=64, depth=2):
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.layers = nn.ModuleList(block(width) for _ in range(depth))
-->

```python
plan = ip.plan_policy(Encoder(), "conf/init/mine.yaml", seed=1)
for row in plan.rows:
    if row.rule in ("tokens", "branch_ends") and row.name.endswith(("token", "weight")):
        print(f"{row.name}: {row.rule}, {row.expected_std:.5f}")
```

```text
cls_token: tokens, 0.01500
layers.0.attention.out.weight: branch_ends, 0.01061
layers.0.mlp.down.weight: branch_ends, 0.01061
layers.1.attention.out.weight: branch_ends, 0.00750
layers.1.mlp.down.weight: branch_ends, 0.00750
```
"""


def about(name: str) -> Mapping[str, str]:
    """What the comment of a reference preset says, by field."""
    found: dict[str, str] = {}
    field = ""
    for line in (conf_folder() / "init" / f"{name}.yaml").read_text().splitlines()[1:]:
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        head = re.match(rf"({'|'.join(FIELDS)}): +(.*)", text)
        if head:
            field = head[1]
            found[field] = head[2]
        else:
            found[field] = f"{found.get(field, '')} {text}".strip()
    return found


def page() -> Iterator[str]:
    """The whole page, line by line."""
    yield PREFACE
    yield "## For any model"
    yield ""
    yield from table(("preset", "what it does"), [[f"`{name}`", ip.load_policy(name).description] for name in GENERIC])
    yield ""
    yield "## After a reference"
    yield ""
    rows = []
    for name in REFERENCE:
        told = about(name)
        rows.append([f"`{name}`", ip.load_policy(name).description, told["Source"], told.get("Paper", "")])
    yield from table(("preset", "what it does", "source", "paper"), rows)


def main() -> None:
    """Print the catalogue."""
    sys.stdout.write("\n".join(page()) + "\n")


if __name__ == "__main__":
    main()
