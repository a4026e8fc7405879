"""Policies that the tests share: strategies for the whole language, as the plain data that YAML gives."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

__all__ = ["matches", "policies", "rule", "specs"]

Data = dict[str, Any]

# What YAML, OmegaConf or the reading of numbers could take for something else.
_ODD = [
    "on",
    "null",
    "~",
    "0x1f",
    ".5",
    "nan",
    "a: b",
    "# no",
    "- x",
    "[a]",
    "{a}",
    "*",
    "&a",
    "!x",
    "%",
    "'\"",
    "<<",
    "=",
]
_ODD += [
    "a.b",
    "x\ny",
    " lead",
    "tail ",
    "é",
    "重み",
    "\U0001f600",
    "\\",
    "$",
    "@",
    "`",
    "|",
    "defaults",
    "name",
    "arguments",
]
_FORMULAS = ["2 * n_layer", "fan_in >= 1024 and ndim == 2", "0.02 / sqrt(2 * n_layer)", "shape[0] if ndim > 1 else 1"]
_REGEXES = ["^head", r"h\.(?P<layer>\d+)\.mlp", "[a-z]+$", "(?i)norm", "a|b", " ", r"\bfc\b"]
_INITIALIZERS = [
    "kaiming_normal",
    "he_uniform",
    "xavier_normal_",
    "orthogonal",
    "zeros",
    "my-init.v2",
    "torch.nn.init.dirac_",
]


def rule(**fields: Any) -> Data:
    """A policy of one rule, which gives ``init`` to ``match``."""
    return {"rules": {"a": {"init": {"weight": 0}, **fields}}}


def _free(text: str) -> bool:
    """Whether a text means itself: no interpolation, nor a number that PyYAML writes bare and OmegaConf reads."""
    exponent = re.fullmatch(r"[-+]?[\d_.]+[eE][-+]?\d+", text)
    return bool(text.strip()) and "${" not in text and text != "???" and not exponent


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_words = (st.sampled_from(_ODD) | _text).filter(_free)
_numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
_variables = st.from_regex(r"[a-df-z][a-z_]{0,3}[0-9]", fullmatch=True)
_plain = st.recursive(
    st.none() | st.booleans() | _numbers | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=4,
)
_own = ("name", "call", "split", "dim", "layout", "arguments", "_target_", "parts")
_arguments = st.dictionaries(
    _words.filter(lambda word: word not in _own), _plain | st.sampled_from(_FORMULAS), max_size=3
)


def _one_or_more(item: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return item | st.lists(item, min_size=1, max_size=3)


def _named(**fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Data]:
    """A mapping of these keys and any arguments, cut into blocks or not, with or without a layout."""
    cut = st.sampled_from(
        [{}, {"split": 3}, {"split": "gates"}, {"split": 2, "dim": -1}, {"split": None}, {"layout": "in out"}]
    )
    hidden = st.dictionaries(st.sampled_from(_own), _plain, max_size=2).map(lambda d: {"arguments": d} if d else {})
    parts = st.tuples(st.fixed_dictionaries(fixed), _arguments, cut, hidden)
    return parts.map(lambda four: {**four[1], **four[2], **four[3], **four[0]})


_leaves = st.one_of(
    _numbers,
    st.sampled_from([*_INITIALIZERS, "keep", "inherit", "1e-5", "-3"]),
    st.sampled_from([{"name": "keep"}, {"_target_": "torch.nn.init.normal_", "std": 2, "_partial_": True}]),
    _named(name=st.sampled_from(_INITIALIZERS)),
    _named(call=st.sampled_from(["a.b", "my_pkg.inits.fancy_"])),
    _numbers.map(lambda value: {"name": "constant", "value": value}),
)


def _packed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Data]:
    blocks = st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"name": "blocks", "parts": parts})
    gates = st.dictionaries(st.sampled_from("ifgorzn"), inner, min_size=1, max_size=4)
    return blocks | blocks.map(lambda b: {**b, "dim": 1}) | gates.map(lambda g: {"name": "gates", **g})


specs = st.recursive(_leaves, _packed, max_leaves=5)
"""A spec in any of its forms."""

_keys = {
    "type": _one_or_more(_words.map(str.strip).filter(_free)),
    "name": _one_or_more(st.sampled_from(_REGEXES[:-2])),
    "activation": _one_or_more(st.sampled_from(["relu", "MyAct"])),
    "input_activation": _one_or_more(st.sampled_from(["gelu", "identity"])),
    "inside": _one_or_more(_words.map(str.strip).filter(_free)),
    "where": st.none() | st.sampled_from(_FORMULAS),
}
_flat = st.fixed_dictionaries({}, optional=_keys) | st.fixed_dictionaries(
    {"type": _keys["type"], "exact": st.booleans()},
    optional={key: values for key, values in _keys.items() if key != "type"},
)
matches = st.recursive(
    _flat, lambda inner: st.tuples(_flat, inner).map(lambda two: {**two[0], "not": two[1]}), max_leaves=4
)
"""A match, with others under ``not``."""

_rules = st.fixed_dictionaries(
    {"init": st.dictionaries(_words, specs, min_size=1, max_size=3)},
    optional={
        "description": _words,
        "match": matches,
        "expect": st.none() | st.integers(0, 99) | st.sampled_from(_FORMULAS),
    },
)
_declared = st.sampled_from(["relu", "MyAct"]) | st.fixed_dictionaries(
    {"name": st.just("leaky_relu")}, optional={"slope": _numbers}
)
policies: st.SearchStrategy[Data] = st.fixed_dictionaries(
    {"rules": st.dictionaries(_words, _rules, min_size=1, max_size=3)},
    optional={
        "name": _words,
        "description": _words,
        "seed": st.none() | st.integers(0, 2**63 - 1),
        "vars": st.dictionaries(_variables, _numbers, max_size=3),
        "exclude": st.lists(matches, max_size=2),
        "unmatched": st.sampled_from(["keep", "warn", "error"]),
        "unused": st.sampled_from(["ignore", "warn", "error"]),
        "frozen": st.sampled_from(["skip", "init"]),
        "gains": st.sampled_from(["torch", "exact"]),
        "nonlinearity": st.sampled_from(["following", "preceding", "theory"]),
        "fans": st.sampled_from(["module", "torch"]),
        "activations": st.dictionaries(st.sampled_from(_REGEXES), _declared, max_size=2),
    },
)
"""A policy that loads."""
