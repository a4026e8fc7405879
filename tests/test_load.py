"""Every way to name a policy, and every mistake that can be seen without a model: the whole of each message."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, ListConfig, OmegaConf
from policy_samples import policies, rule

from initpolicy.errors import InitPolicyError, PolicyError, Problem
from initpolicy.files import conf_folder, list_policies
from initpolicy.load import load_policy
from initpolicy.policy import Policy

# Each table has, without indentation, what is written, and below it the message, line by line; what is indented
# further goes on with the line above. ⏎ is a new line, ⇥ a tab. Every line of a message starts with the file's name.

AT_THE_TOP = r"""
colour: red
    colour: unknown key; known here are name, description, seed, vars, rules, exclude, unmatched, unused,
        frozen, gains, nonlinearity, fans, activations
unmached: warn
    unmached: unknown key; did you mean 'unmatched'?
unused: [error]
    unused: must be one of ignore, warn, error, not a list
unmatched: wran
    unmatched: must be one of keep, warn, error, not 'wran'; did you mean 'warn'?
unmatched: off
    unmatched: must be one of keep, warn, error, not false
frozen: true
    frozen: must be one of skip, init, not true
gains: 2
    gains: must be one of torch, exact, not 2
nonlinearity: folowing
    nonlinearity: must be one of following, preceding, theory, not 'folowing'; did you mean 'following'?
fans: null
    fans: must be one of module, torch, not nothing
seed: -1
    seed: must be a whole number from 0 to 2**63 - 1, or null, not -1
seed: 1.5
    seed: must be a whole number from 0 to 2**63 - 1, or null, not 1.5
seed: true
    seed: must be a whole number from 0 to 2**63 - 1, or null, not true
seed: 9223372036854775808
    seed: must be a whole number from 0 to 2**63 - 1, or null, not 9223372036854775808
seed: abc
    seed: must be a whole number from 0 to 2**63 - 1, or null, not 'abc'
seed: [1]
    seed: must be a whole number from 0 to 2**63 - 1, or null, not a list
name: 5
    name: must be text, not 5
name: ' '
    name: is empty; leave it out or write a name
description: [a]
    description: must be text, not a list
vars: [a]
    vars: must be a mapping of names to numbers, not a list
vars: {std: abc}
    vars.std: must be a number, not 'abc'
vars: {std: true}
    vars.std: must be a number, not true
vars: {std: .nan}
    vars.std: must be finite, not nan
vars: {std: -.inf}
    vars.std: must be finite, not -inf
vars: {std: 1e400}
    vars.std: must be finite, not inf
vars: {std: inf}
    vars.std: must be finite, not inf
vars: {std: null}
    vars.std: must be a number, not nothing
vars: {std: 9**9**9}
    vars.std: must be a number, not '9**9**9'
vars: {fan_in: 3, max: 3, pi: 3, lambda: 3, my var: 3, __x: 3}
    vars.fan_in: hides the fact of that name; name it otherwise
    vars.max: hides the function of that name; name it otherwise
    vars.pi: hides the fact of that name; name it otherwise
    vars.lambda: cannot be used in a formula; take letters, digits and underscores
    vars.my var: cannot be used in a formula; take letters, digits and underscores
    vars.__x: cannot be used in a formula; take letters, digits and underscores
exclude: {type: Linear}
    exclude: must be a list of matches, not a mapping; put a dash before it
exclude: Linear
    exclude: must be a list of matches such as {type: Linear}, not 'Linear'
exclude: [Linear, null]
    exclude.0: must be a mapping such as {type: Linear}, not 'Linear'
    exclude.1: must be a mapping such as {type: Linear}, not nothing
exclude: [{typ: Linear}]
    exclude.0.typ: unknown key; did you mean 'type'?
exclude:
    exclude: must be a list of matches such as {type: Linear}, not nothing
activations: {'(': relu}
    activations.(: '(' is not a regular expression: missing ), unterminated subpattern at position 0
activations: {x: 5, y: '', z: {slope: 1}}
    activations.x: must be an activation's name, or a mapping with 'name', not 5
    activations.y: must be an activation's name, or a mapping with 'name', not ''
    activations.z: has no 'name'; write which activation
activations: {x: {name: leaky_relu, slope: steep}}
    activations.x.slope: must be a number, not 'steep'
activations: {x: {name: relu, arguments: 5}}
    activations.x: 'arguments' must be a mapping, not 5
activations: [relu]
    activations: must be a mapping of regular expressions to activations, not a list
head: {match: {type: Linear}, init: {weight: 0}}
    head: unknown key; a rule belongs under 'rules'
match: {type: Linear}
    match: unknown key; it belongs in a rule, beside 'match' and 'init'
where: ndim > 1
    where: unknown key; it belongs under 'match'
"""

RULES = r"""
rules:
    rules: must be a mapping of rule names to rules, not nothing
rules: {}
    rules: is empty; write a mapping of rule names to rules
rules: [a]
    rules: must be a mapping of rule names to rules, not a list
rules: 5
    rules: must be a mapping of rule names to rules, not 5
ruels: {a: {init: {weight: 0}}}
    ruels: unknown key; did you mean 'rules'?
    rules: is required: a mapping of rule names to rules
rules: {a: null, b: 5, c: [1]}
    rules.a: must be a mapping with 'match' and 'init', not nothing
    rules.b: must be a mapping with 'match' and 'init', not 5
    rules.c: must be a mapping with 'match' and 'init', not a list
rules: {'': {init: {weight: 0}}}
    rules.'': is no name for a rule
"""

IN_A_RULE = r"""
mtach: {type: Linear}, init: {weight: 0}
    rules.a.mtach: unknown key; did you mean 'match'?
type: Linear, init: {weight: 0}
    rules.a.type: unknown key; it belongs under 'match'
match: {type: Linear}, weight: 0
    rules.a.weight: unknown key; parameters belong under 'init', beside 'match'
    rules.a.init: is required: a mapping such as {weight: kaiming_normal, bias: 0}
unmatched: warn, init: {weight: 0}
    rules.a.unmatched: unknown key; it belongs at the top of the policy
foo: 1, init: {weight: 0}
    rules.a.foo: unknown key; known here are description, match, init, expect, unused
match: {type: Linear}
    rules.a.init: is required: a mapping such as {weight: kaiming_normal, bias: 0}
match: Linear, init: {weight: 0}
    rules.a.match: must be a mapping such as {type: Linear}, not 'Linear'
match:, init: {weight: 0}
    rules.a.match: must be a mapping such as {type: Linear}, not nothing
description: 5, init: {weight: 0}
    rules.a.description: must be text, not 5
init:
    rules.a.init: must be a mapping such as {weight: kaiming_normal, bias: 0}, not nothing
init: {}
    rules.a.init: is empty; write a mapping such as {weight: kaiming_normal, bias: 0}
init: kaiming_normal
    rules.a.init: must be a mapping such as {weight: kaiming_normal, bias: 0}, not 'kaiming_normal'
init: [1]
    rules.a.init: must be a mapping such as {weight: kaiming_normal, bias: 0}, not a list
init: {'': 0}
    rules.a.init.'': is the name of no parameter; write * for all
init: {weight: 0}, expect: 2.5
    rules.a.expect: must be a whole number or a formula, not 2.5
init: {weight: 0}, expect: true
    rules.a.expect: must be a whole number or a formula, not true
init: {weight: 0}, expect: -1
    rules.a.expect: must be a whole number or a formula, not -1
init: {weight: 0}, expect: [1]
    rules.a.expect: must be a whole number or a formula, not a list
init: {weight: 0}, expect: 2 *
    rules.a.expect: '2 *' is not a formula: it ends too early
"""

IN_A_MATCH = r"""
activaton: relu
    rules.a.match.activaton: unknown key; did you mean 'activation'?
expect: 2
    rules.a.match.expect: unknown key; it belongs in a rule, beside 'match' and 'init'
weight: 0
    rules.a.match.weight: unknown key; parameters belong under 'init', beside 'match'
foo: 2
    rules.a.match.foo: unknown key; known here are type, exact, name, activation, input_activation, inside,
        where, not
type: 5
    rules.a.match.type: must be a name or a list of names, not 5
type: []
    rules.a.match.type: is an empty list, which nothing can match; leave the key out to match all
type: [Linear, 5]
    rules.a.match.type: must hold names, not 5
type: ['']
    rules.a.match.type: must hold names, not an empty one
type: null
    rules.a.match.type: must be a name or a list of names, not nothing
type: {a: 1}
    rules.a.match.type: must be a name or a list of names, not a mapping
type: Linear, exact: 'yes'
    rules.a.match.exact: must be true or false, not 'yes'
type: Linear, exact: 1
    rules.a.match.exact: must be true or false, not 1
exact: true
    rules.a.match: 'exact' says how 'type' is meant, and there is none; add 'type'
inside: 5
    rules.a.match.inside: must be a name or a list of names, not 5
activation: {}
    rules.a.match.activation: must be a name or a list of names, not a mapping
input_activation: 3
    rules.a.match.input_activation: must be a name or a list of names, not 3
name: '('
    rules.a.match.name: '(' is not a regular expression: missing ), unterminated subpattern at position 0
name: 'h[0'
    rules.a.match.name: 'h[0' is not a regular expression: unterminated character set at position 1
name: [ok, '*x']
    rules.a.match.name.1: '*x' is not a regular expression: nothing to repeat at position 0
name: '(?P<fan_in>x)'
    rules.a.match.name: group 'fan_in' hides the fact of that name; name it otherwise
name: '(?P<max>x)'
    rules.a.match.name: group 'max' hides the function of that name; name it otherwise
name: '(?P<a>x)(?P<a>y)'
    rules.a.match.name: '(?P<a>x)(?P<a>y)' is not a regular expression: redefinition of group name 'a' as group
        2; was group 1 at position 12
name: 'a{99999999999}'
    rules.a.match.name: 'a{99999999999}' is not a regular expression: the repetition number is too large
where: true
    rules.a.match.where: must be a formula in quotes, not true
where: 5
    rules.a.match.where: must be a formula in quotes, not 5
where: ''
    rules.a.match.where: '' is empty; write a formula
where: 'fan_in >='
    rules.a.match.where: 'fan_in >=' is not a formula: it ends too early
where: fan_in = 3
    rules.a.match.where: 'fan_in = 3' is not a formula: write '==' to compare
where: 'fan_in && ndim'
    rules.a.match.where: 'fan_in && ndim' is not a formula: write 'and', not '&&'
where: x.shape > 1
    rules.a.match.where: 'x.shape > 1': attributes such as '.shape' cannot be read in a formula; give it a name
        under 'vars'
where: '__import__("os")'
    rules.a.match.where: '__import__("os")': unknown function '__import__'; known are abs, ceil, cos, exp,
        expm1, floor, log, log1p, max, min, sin, sqrt
where: sqr(fan_in)
    rules.a.match.where: 'sqr(fan_in)': unknown function 'sqr'; did you mean 'sqrt'?
where: 9**9**9 > 1
    rules.a.match.where: '9**9**9 > 1' has no finite value: 9 ** 9 ** 9
where: fan_in ^ 2
    rules.a.match.where: 'fan_in ^ 2': '^' is not a power; write '**'
not: {typ: Linear}
    rules.a.match.not.typ: unknown key; did you mean 'type'?
not: Linear
    rules.a.match.not: must be a mapping such as {type: Linear}, not 'Linear'
not: {not: {name: '['}}
    rules.a.match.not.not.name: '[' is not a regular expression: unterminated character set at position 0
"""

IN_A_SPEC = r"""
null
    rules.a.init.weight: is empty; write an initializer's name, a number, a mapping, or keep
''
    rules.a.init.weight: is empty; write an initializer's name, a number, a mapping, or keep
[1]
    rules.a.init.weight: must be an initializer's name, a number or a mapping, not a list
true
    rules.a.init.weight: must be an initializer's name, a number or a mapping, not true
.nan
    rules.a.init.weight: must be finite, not nan
-.inf
    rules.a.init.weight: must be finite, not -inf
'.inf'
    rules.a.init.weight: must be finite, not .inf
inf
    rules.a.init.weight: must be finite, not inf
1e400
    rules.a.init.weight: must be finite, not inf
1 / sqrt(fan_in)
    rules.a.init.weight: '1 / sqrt(fan_in)' is no initializer's name; a formula goes into {name: constant, value: …}
{std: 1}
    rules.a.init.weight: has no 'name'; write which initializer, or 'call' for a function of your own
{name: 5}
    rules.a.init.weight: 'name' must be an initializer's name, not 5
{name: null}
    rules.a.init.weight: 'name' must be an initializer's name, not nothing
{name: a b}
    rules.a.init.weight: 'a b' is no initializer's name; a formula goes into {name: constant, value: …}
{name: normal, std: .inf}
    rules.a.init.weight: 'std' must be finite
{name: normal, call: a.b}
    rules.a.init.weight: has both 'name' and 'call'; keep one
{name: normal, arguments: 5}
    rules.a.init.weight: 'arguments' must be a mapping, not 5
{name: normal, std: 1, arguments: {std: 2}}
    rules.a.init.weight: 'std' is given twice, beside 'arguments' and in it; keep one
{call: fancy}
    rules.a.init.weight.call: must be a function's path, as in my_package.module.function_, not 'fancy'
{call: 5}
    rules.a.init.weight.call: must be text, not 5
{call: os.system(1)}
    rules.a.init.weight.call: must be a function's path, as in my_package.module.function_, not 'os.system(1)'
{call: a.b, limit: .nan}
    rules.a.init.weight: 'limit' must be finite
{_target_: os.system}
    rules.a.init.weight: _target_ 'os.system': only torch.nn.init functions are read as initializers; for a
        function of your own write 'call' and trust its package in the program
{_target_: 5}
    rules.a.init.weight: _target_ 5: only torch.nn.init functions are read as initializers; for a function of
        your own write 'call' and trust its package in the program
{_target_: torch.nn.init.normal_, name: x}
    rules.a.init.weight: has '_target_' beside 'name' or 'call'; keep one
{_target_: torch.nn.init.normal_, _args_: [1]}
    rules.a.init.weight: '_args_' gives arguments without their names; write each with its name
{name: blocks}
    rules.a.init.weight: blocks needs 'parts', a list of specs, one for each block
{name: blocks, part: [1]}
    rules.a.init.weight: blocks takes parts, dim and layout, not 'part'; did you mean 'parts'?
{name: blocks, parts: 3}
    rules.a.init.weight.parts: must be a list of specs, not 3
{name: blocks, parts: [normal, null]}
    rules.a.init.weight.parts.1: is empty; write an initializer's name, a number, a mapping, or keep
{name: blocks, parts: [normal], split: 2}
    rules.a.init.weight: blocks takes parts, dim and layout, not 'split'
{name: gates}
    rules.a.init.weight: gates needs a spec by gate name: {name: gates, f: 1, i: 0, g: 0, o: 0}
{name: gates, f: null}
    rules.a.init.weight.f: is empty; write an initializer's name, a number, a mapping, or keep
{name: gates, f: 1, dim: 1}
    rules.a.init.weight: gates takes layout, not 'dim'
{name: keep, std: 1}
    rules.a.init.weight: keep takes nothing else, not 'std'
{name: inherit, split: 2}
    rules.a.init.weight: inherit takes nothing else, not 'split'
{name: normal, split: 1}
    rules.a.init.weight.split: must be 'gates' or a number of blocks from 2 to 1000000, not 1
{name: normal, split: gate}
    rules.a.init.weight.split: must be 'gates' or a number of blocks from 2 to 1000000, not 'gate'
{name: normal, split: true}
    rules.a.init.weight.split: must be 'gates' or a number of blocks from 2 to 1000000, not true
{name: normal, split: 2.5}
    rules.a.init.weight.split: must be 'gates' or a number of blocks from 2 to 1000000, not 2.5
{name: normal, split: 1000001}
    rules.a.init.weight.split: must be 'gates' or a number of blocks from 2 to 1000000, not 1000001
{name: normal, dim: 1}
    rules.a.init.weight: 'dim' says which axis a number of blocks is cut along, and 'split' gives none
{name: normal, split: gates, dim: 1}
    rules.a.init.weight: 'dim' says which axis a number of blocks is cut along, and 'split' gives none
{name: normal, split: 2, dim: a}
    rules.a.init.weight.dim: must be the whole number of an axis, not 'a'
{name: normal, layout: 5}
    rules.a.init.weight.layout: must be text, not 5
2001-01-01
    rules.a.init.weight: '2001-01-01' is no initializer's name; a formula goes into {name: constant, value: …}
'???'
    rules.a.init.weight: is '???', which stands for a value that must be given
"""

NOT_YAML = r"""
- a⏎- b
    a policy is a mapping with 'rules'; this file holds a list
hello
    a policy is a mapping with 'rules'; this file holds 'hello'
5
    a policy is a mapping with 'rules'; this file holds '5'
rules: {a: {init: {weight: 0}}
    line 1, column 31: is not YAML: expected ',' or '}', but got '<stream end>'
rules:⏎⇥a: 1
    line 2, column 1: is not YAML: found character '\t' that cannot start any token; indent with spaces
rules: *nope
    line 1, column 8: is not YAML: found undefined alias 'nope'
rules: &a {a: *a}
    line 1, column 8: an anchor here holds an alias of itself
&a [*a]
    a policy is a mapping with 'rules'; this file holds a list
rules: {a: {<<: 5, init: {weight: 0}}}
    line 1, column 17: is not YAML: expected a mapping or list of mappings for merging, but found scalar
rules: {a: {<<: *nope}}
    line 1, column 17: is not YAML: found undefined alias 'nope'
rules: {a: 1}⏎rules: {b: 1}
    line 2, column 1: is not YAML: found duplicate key rules
rules: {a: {init: {weight: 0, weight: 1}}}
    line 1, column 31: is not YAML: found duplicate key weight
rules: {a: 1}⏎---⏎rules: {b: 1}
    line 2, column 1: is not YAML: expected a single document in the stream, but found another document
rules: {1: 2}
    rules.1: a key must be text; put it in quotes
rules: {on: 2}
    rules.true: a key must be text; put it in quotes (YAML reads on, off, yes and no as true and false)
rules: {null: 2}
    line 1, column 9: a key must be text, and there is none
rules: {[a]: 2}
    line 1, column 9: is not YAML: found unhashable key
rules: {a: {init: {weight: !!python/object/apply:os.system [echo]}}}
    line 1, column 28: the tag !!python/object/apply:os.system has no place in a policy
rules: !mine {}
    line 1, column 8: the tag !mine has no place in a policy
rules: !!set {a}
    line 1, column 8: the tag !!set has no place in a policy
rules: !!int abc
    is not YAML: invalid literal for int() with base 10: 'abc'
rules: !!timestamp 2001-01-01
    rules: holds what cannot be read: Value 'date' is not a supported primitive type
rules: "\ud800"
    rules: holds half of a surrogate pair, which is no text
a: b: c
    line 1, column 5: is not YAML: mapping values are not allowed here
@foo
    line 1, column 1: is not YAML: found character '@' that cannot start any token
'a': 1⏎  b: 1
    line 2, column 4: is not YAML: mapping values are not allowed here
"""

INTERPOLATIONS = r"""
seed: ???⏎rules: {a: {init: {weight: 0}}}
    seed: is '???', which stands for a value that must be given
seed: ${nope}⏎rules: {a: {init: {weight: 0}}}
    seed: '${nope}' cannot be resolved: Interpolation key 'nope' not found
vars: {x: '${.y}'}⏎rules: {a: {init: {weight: 0}}}
    vars.x: '${.y}' cannot be resolved: Interpolation key 'y' not found
vars: {x: '${oc.env:NOPE_NOPE}'}⏎rules: {a: {init: {weight: 0}}}
    vars.x: '${oc.env:NOPE_NOPE}' cannot be resolved: Environment variable 'NOPE_NOPE' not found
vars: {x: '${foo:1}'}⏎rules: {a: {init: {weight: 0}}}
    vars.x: '${foo:1}' cannot be resolved: Unsupported interpolation type foo
vars: {x: '${x'}⏎rules: {a: {init: {weight: 0}}}
    vars.x: holds an interpolation that cannot be read; write ${name} or ${.name}
vars: {x: '${.y}', y: '${.x}'}⏎rules: {a: {init: {weight: 0}}}
    vars.x: '${.y}' cannot be resolved: Recursive interpolation detected
    vars.y: '${.x}' cannot be resolved: Recursive interpolation detected
rules: {a: ⏎
    line 2, column 1: is not YAML: expected the node content, but found '<stream end>'
rules: {a: ${rules}}
    line 1, column 13: is not YAML: expected ',' or '}', but got '{'; put ${…} in quotes
rules: {a: '${rules}'}
    rules.a: '${rules}' cannot be resolved: Interpolation to parent node detected
vars: {x: '${.y}', y: ???}⏎rules: {a: {init: {weight: 0}}}
    line 1, column 23: is not YAML: expected the node content, but found '?'
rules: {a: {match: {type: [Linear, '${nope}']}, init: {weight: 0}}}
    rules.a.match.type.1: '${nope}' cannot be resolved: Interpolation key 'nope' not found
"""

DEFAULTS = r"""
defaults: he_relu
    defaults: must be a list such as [he_relu, _self_], not 'he_relu'
defaults: null
    defaults: must be a list such as [he_relu, _self_], not nothing
defaults: [5, {init: a}, '']
    defaults.0: must be the name of a policy or _self_, not 5
    defaults.1: must be the name of a policy or _self_, not a mapping
    defaults.2: must be the name of a policy or _self_, not ''
defaults: [he_rellu, nothing_like_it]
    defaults.0: no policy 'he_rellu' beside mine.yaml; did you mean 'he_relu'?
    defaults.1: no policy 'nothing_like_it' beside mine.yaml
defaults: [/init/he_relu, sub/a, he_relu@_here_]
    defaults.0: must be the bare name of a policy or _self_, not '/init/he_relu'; presets and files beside this
        are read
    defaults.1: must be the bare name of a policy or _self_, not 'sub/a'; presets and files beside this are read
    defaults.2: must be the bare name of a policy or _self_, not 'he_relu@_here_'; presets and files beside this
        are read
defaults: [_self_, he_relu, _self_]
    defaults: has _self_ more than once
defaults: [mine]
    defaults: the files extend each other in a circle: mine → mine
defaults: [he_relu]⏎rules: [1]
    rules: is a list, and what it extends has a mapping here
defaults: [he_relu]⏎vars: 5
    vars: must be a mapping of names to numbers, not 5
defaults: [he_relu]⏎rules: {rectified: {mtach: {}}}
    rules.rectified.mtach: unknown key; did you mean 'match'?
"""


def _table(text: str) -> list[tuple[str, str]]:
    """(what is written, the message)."""
    rows: list[tuple[str, list[str]]] = []
    for line in text.strip().split("\n"):
        if not line.startswith(" "):
            rows.append((line.replace("⏎", "\n").replace("⇥", "\t"), []))
        elif line.startswith(" " * 8):
            rows[-1][1][-1] += f" {line.strip()}"
        else:
            rows[-1][1].append(line.strip())
    return [(written, "\n".join(message)) for written, message in rows]


SEED = "must be a whole number from 0 to 2**63 - 1, or null"
TOO_LARGE = "1" + "0" * 350
TOO_DEEP = "(" * 2000 + ")" * 2000
WHERE: list[tuple[str, list[tuple[str, str]]]] = [
    ("%s", _table(RULES)),
    ("%s", _table(NOT_YAML)),
    ("%s", _table(INTERPOLATIONS)),
    ("%s", _table(DEFAULTS)),
    ("rules: {a: {init: {weight: 0}}}\n%s", _table(AT_THE_TOP)),
    ("rules: {a: {%s}}", _table(IN_A_RULE)),
    ("rules: {a: {match: {%s}, init: {weight: 0}}}", _table(IN_A_MATCH)),
    ("rules: {a: {init: {weight: %s}}}", _table(IN_A_SPEC)),
    (
        "%s",
        [
            ("", "is empty; a policy is a mapping with 'rules'"),
            ("# no more than a comment\n", "is empty; a policy is a mapping with 'rules'"),
            ("rules: a\n\0b", "line 2: is not YAML: it holds the control character U+0000"),
            (f"seed: {'9' * 5000}", "line 1, column 7: a number of 5000 digits is too large"),
            (f"seed: {TOO_LARGE}\nrules: {{a: {{init: {{weight: 0}}}}}}", f"seed: {SEED}, not a huge number"),
            (f"rules: {{a: {{init: {{weight: {TOO_LARGE}}}}}}}", "rules.a.init.weight: is too large for a number"),
            (f"rules: {{a: {{match: {{name: '{TOO_DEEP}'}}, init: {{weight: 0}}}}}}",
             f"rules.a.match.name: '{'(' * 57}…' is not a regular expression: it is nested too deep"),
        ],
    ),
]  # fmt: skip
BROKEN = [(place % written, message) for place, rows in WHERE for written, message in rows]


def messages(source: Any) -> str:
    """All that is wrong with it."""
    with pytest.raises(PolicyError) as caught:
        load_policy(source)
    assert all(isinstance(problem, Problem) for problem in caught.value.problems)
    assert isinstance(caught.value, InitPolicyError)
    return str(caught.value)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("text", "message"), BROKEN, ids=[text[:60] for text, _ in BROKEN])
def test_a_broken_file(tmp_path: Path, text: str, message: str) -> None:
    expected = "\n".join(f"mine: {line}" for line in message.split("\n"))
    assert messages(write(tmp_path / "mine.yaml", text)) == expected


def test_there_are_enough_broken_policies() -> None:
    assert len({text for text, _ in BROKEN}) == len(BROKEN) >= 200


def test_all_mistakes_are_named_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
        seed: ???
        unmatched: wran
        vars: {fan_in: 1, x: "${nope}", y: 2}
        rules:
          b:
            init: {weight: null, bias: {name: blocks, parts: [0, [1]]}}
            match: {typ: Linear, where: "2 *", name: [ok, "("], not: {exact: 1}}
          a: {match: {type: X}, expect: true, colour: red}
        exclude: [{type: Linear}, {activation: 3}]
        name: 5
    """
    assert messages(write(tmp_path / "mine.yaml", text)).split("\n") == [
        "mine: seed: is '???', which stands for a value that must be given",
        "mine: unmatched: must be one of keep, warn, error, not 'wran'; did you mean 'warn'?",
        "mine: vars.fan_in: hides the fact of that name; name it otherwise",
        "mine: vars.x: '${nope}' cannot be resolved: Interpolation key 'nope' not found",
        "mine: rules.b.init.weight: is empty; write an initializer's name, a number, a mapping, or keep",
        "mine: rules.b.init.bias.parts.1: must be an initializer's name, a number or a mapping, not a list",
        "mine: rules.b.match.typ: unknown key; did you mean 'type'?",
        "mine: rules.b.match.where: '2 *' is not a formula: it ends too early",
        "mine: rules.b.match.name.1: '(' is not a regular expression: missing ), unterminated subpattern at position 0",
        "mine: rules.b.match.not.exact: must be true or false, not 1",
        "mine: rules.a.expect: must be a whole number or a formula, not true",
        "mine: rules.a.colour: unknown key; known here are description, match, init, expect, unused",
        "mine: rules.a.init: is required: a mapping such as {weight: kaiming_normal, bias: 0}",
        "mine: exclude.1.activation: must be a name or a list of names, not 3",
        "mine: name: must be text, not 5",
    ]


def test_a_mistake_is_also_data(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(write(tmp_path / "mine.yaml", "rules: {a: {init: {weight: null}}, b: 5}"))
    assert caught.value.problems == (
        Problem(
            source="mine",
            place="rules.a.init.weight",
            message="is empty; write an initializer's name, a number, a mapping, or keep",
        ),
        Problem(source="mine", place="rules.b", message="must be a mapping with 'match' and 'init', not 5"),
    )


# --- mappings and configs ------------------------------------------------------------------------


class Cyclic(dict[str, Any]):
    """A mapping that holds itself."""

    def __init__(self, **items: Any) -> None:
        super().__init__(**items)
        self["not"] = self


def nested(levels: int) -> dict[str, Any]:
    """A match under so many nots."""
    match: dict[str, Any] = {"type": "Linear"}
    for _ in range(levels):
        match = {"not": match}
    return match


def doubled(times: int) -> dict[str, Any]:
    """A small mapping that stands for 2**times values."""
    value: dict[str, Any] = {"x": 1}
    for _ in range(times):
        value = {"a": value, "b": value}
    return value


def spec(value: Any) -> dict[str, Any]:
    return rule(init={"weight": value})


NO_SOURCE = "policy: must be a preset's name, a path, a mapping or a DictConfig, not"
TOO_NESTED = "policy: rules.a.match.not.not.not.not.not.not.…: is nested more than 50 deep"
KNOWN = f"the presets are {', '.join(list_policies())}"
FORMULA = "a formula goes into {name: constant, value: …}"
AT = "rules.a.init.weight"
NO_TEXT = "holds half of a surrogate pair, which is no text"
MISSING = "is '???', which stands for a value that must be given"
REQUIRED = "rules: is required: a mapping of rule names to rules"
BOOLEANS = "(YAML reads on, off, yes and no as true and false)"
SPLIT = "must be 'gates' or a number of blocks from 2 to 1000000"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, f"{NO_SOURCE} nothing"),
        (5, f"{NO_SOURCE} int"),
        ([rule()], f"{NO_SOURCE} list"),
        (ListConfig([]), f"{NO_SOURCE} ListConfig"),
        (b"he_relu", f"{NO_SOURCE} bytes"),
        (object, f"{NO_SOURCE} type"),
        ({}, f"policy: {REQUIRED}"),
        (DictConfig({}), f"policy: {REQUIRED}"),
        ({"name": "mine"}, f"mine: {REQUIRED}"),
        ({"name": "mine", **spec({"name": 5})}, f"mine: {AT}: 'name' must be an initializer's name, not 5"),
        ({"init": rule()}, "policy: has no rules but an 'init' that has; pass cfg.init, not cfg"),
        (
            OmegaConf.create({"data": "???", "x": "${nope}", "init": rule()}),
            "policy: has no rules but an 'init' that has; pass cfg.init, not cfg",
        ),
        (
            OmegaConf.create({"init": "???"}),
            f"policy: init: {MISSING}\npolicy: {REQUIRED}",
        ),
        (
            {"defaults": ["he_relu", "_self_"], **rule()},
            "policy: defaults: unknown key; a defaults list is read from files and by Hydra, not from a mapping",
        ),
        ({1: 2}, f"policy: 1: a key must be text; put it in quotes\npolicy: {REQUIRED}"),
        (
            {"rules": {True: {}}},
            f"policy: rules.true: a key must be text; put it in quotes {BOOLEANS}",
        ),
        (OmegaConf.create({"rules": {1: {}}}), "policy: rules.1: a key must be text; put it in quotes"),
        (spec({"name": "a", "\ud800": 1}), f"policy: {AT}.'\\ud800': {NO_TEXT}"),
        (spec("\ud800"), f"policy: {AT}: {NO_TEXT}"),
        (
            rule(**{"a\nb": 1}),
            "policy: rules.a.'a\\nb': unknown key; known here are description, match, init, expect, unused",
        ),
        (spec("${std}"), f"policy: {AT}: '${{std}}' is not resolved; pass the DictConfig, which can resolve it"),
        (spec("???"), f"policy: {AT}: is '???', which stands for a value that must be given"),
        (spec(Path("a")), f"policy: {AT}: is a {type(Path('a')).__name__}, which no YAML holds"),
        (spec(datetime.date(2001, 1, 1)), f"policy: {AT}: is a date, which no YAML holds"),
        (spec({1}), f"policy: {AT}: is a set, which no YAML holds"),
        (spec(np.ones(2)), f"policy: {AT}: is a ndarray, which no YAML holds"),
        (spec(10**400), f"policy: {AT}: is too large for a number"),
        (spec("9" * 400), f"policy: {AT}: is too large for a number"),
        (spec({"name": "a", "split": 10**5000}), f"policy: {AT}.split: {SPLIT}, not a huge number"),
        (spec("x y" * 1000), f"policy: {AT}: '{'x y' * 19}…' is no initializer's name; {FORMULA}"),
        (rule(match=Cyclic()), TOO_NESTED),
        (rule(match=nested(1000)), TOO_NESTED),
        (spec({"name": "mine", "x": doubled(40)}), "policy: holds more than 200000 values"),
        (
            OmegaConf.create({"rules": "${rules}"}),
            "policy: rules: '${rules}' cannot be resolved: Recursive interpolation detected",
        ),
        (
            OmegaConf.create({"name": "${nope}", **rule()}),
            "policy: name: '${nope}' cannot be resolved: Interpolation key 'nope' not found",
        ),
        (
            OmegaConf.create({"rules": {"a": "${rules}"}}),
            "policy: rules.a: '${rules}' cannot be resolved: Interpolation to parent node detected",
        ),
    ],
)  # fmt: skip
def test_a_broken_mapping(source: Any, message: str) -> None:
    assert messages(source) == message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "policy: must be a preset's name or a path, not an empty text"),
        (" ", "policy: must be a preset's name or a path, not an empty text"),
        ("he_rellu", "he_rellu: no preset has this name, and it is no path of a .yaml file; did you mean 'he_relu'?"),
        ("xyz", f"xyz: no preset has this name, and it is no path of a .yaml file; {KNOWN}"),
        ("rules:\n  a: 1", "policy: this is YAML text; pass a path, or what yaml.safe_load makes of it"),
        ("mine.yaml", "mine.yaml: no such file"),
        ("he_relu.yaml", "he_relu.yaml: no such file; for the preset write 'he_relu'"),
        (Path("he_relu"), "he_relu: no such file; for the preset write 'he_relu'"),
        ("conf/mine", "conf/mine: no such file"),
        (".", ".: is a folder"),
        (Path("some"), "some: is a folder"),
        ("a\0.yaml", "'a\\x00.yaml': no such file"),
        ("a/" * 3000, f"'{'a/' * 28}a…': no such file"),
    ],
)  # fmt: skip
def test_a_wrong_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Any, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").mkdir()
    assert messages(source) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: caf\xe9", "mine: line 1: is not UTF-8 text: byte 0xe9"),
        ("rules:\n".encode("utf-16"), "mine: line 1: is not UTF-8 text: byte 0xff"),
        (b"# ok\n# \xc3\xa9\nrules: \xff", "mine: line 3: is not UTF-8 text: byte 0xff"),
    ],
)
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    assert messages(tmp_path / "mine.yaml") == message


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert messages(write(tmp_path / "mine.yaml", "rules: {}")) == "mine: cannot be read: Permission denied"


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys and indices that lead to each value within."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield (*above, key)
        yield from places(item, (*above, key))


anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["name", "a.b", "1e5"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=2),
    max_leaves=3,
)


@given(policies, st.data())
def test_whatever_is_wrong_is_said_in_the_words_of_the_language(raw: dict[str, Any], data: st.DataObject) -> None:
    """Any value of a policy replaced by any other: it loads, or every line starts with a place and has no jargon."""
    raw = deepcopy(raw)  # parts of it are the strategies' own
    *above, key = data.draw(st.sampled_from(list(places(raw))))
    holder = reduce(lambda here, part: here[part], above, raw)
    holder[key] = data.draw(anything)
    try:
        policy = load_policy(raw)
    except PolicyError as error:
        for problem in error.problems:
            assert problem.place.split(".")[0] in {"", *raw}, "a key of the policy, which has no dots there"
            assert not re.search(
                r"[Ii]nput should|pydantic|\bdict\b|\bstr\b|NoneType|function-|validat", problem.message
            )
    else:
        assert load_policy(policy.dump()) == policy


# --- too much, too deep --------------------------------------------------------------------------


def test_a_thousand_nots_in_a_file(tmp_path: Path) -> None:
    match = "{not: " * 1000 + "{}" + "}" * 1000
    text = f"rules: {{a: {{match: {match}, init: {{weight: 0}}}}}}"
    assert messages(write(tmp_path / "mine.yaml", text)) == "mine: is nested more than 50 deep"
    fewer = text.replace(match, "{not: " * 60 + "{}" + "}" * 60)
    assert messages(write(tmp_path / "mine.yaml", fewer)) == "mine: line 1, column 303: is nested more than 50 deep"


def test_forty_nots_are_read() -> None:
    policy = load_policy(rule(match=nested(40)))
    assert load_policy(policy.dump()) == policy
    assert load_policy(OmegaConf.create(policy.dump())) == policy


def test_ten_thousand_rules_are_read() -> None:
    rules = {f"r{index}": {"match": {"type": "Linear"}, "init": {"weight": index}} for index in range(10_000)}
    policy = load_policy({"rules": rules})
    assert list(policy.rules) == list(rules)
    assert policy.rules["r9999"].init["weight"].arguments == {"value": 9999}


def test_two_thousand_mistakes_are_all_named() -> None:
    rules = {f"r{index}": {"match": {"typ": "Linear"}, "init": {"weight": 0}} for index in range(2_000)}
    expected = [f"policy: rules.r{index}.match.typ: unknown key; did you mean 'type'?" for index in range(2_000)]
    assert messages({"rules": rules}).split("\n") == expected


def test_more_values_than_a_policy_may_hold() -> None:
    rules = {f"r{index}": {"init": {"weight": 0}} for index in range(100_000)}
    assert messages({"rules": rules}) == "policy: holds more than 200000 values"


def test_aliases_that_stand_for_more_than_a_policy_may_hold(tmp_path: Path) -> None:
    """Nine levels of nine aliases each are 387 million values; none of them is made."""
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    text = "\n".join([*lines, "rules: {a: {init: {weight: 0}}}"])
    expected = "mine: holds more than 200000 values once its aliases are written out"
    assert messages(write(tmp_path / "mine.yaml", text)) == expected


# --- what loads ----------------------------------------------------------------------------------


PROMISED = """
    constant he_leaky_relu he_relu he_uniform keras_default lecun_normal lecun_selu orthogonal orthogonal_rnn
    recommended simple_normal simple_uniform sparse torch_default xavier_normal xavier_tanh xavier_uniform
"""


def test_the_presets_that_were_promised() -> None:
    names = list_policies()
    assert set(PROMISED.split()) <= set(names)
    assert names == tuple(sorted(path.stem for path in (conf_folder() / "init").iterdir()))


@pytest.mark.parametrize("name", list_policies())
def test_every_preset_loads(name: str) -> None:
    policy = load_policy(name)
    assert policy.name == name
    assert policy.description.endswith(".")
    assert load_policy(policy.dump()) == policy
    assert load_policy(conf_folder() / "init" / f"{name}.yaml") == policy
    assert load_policy(str(conf_folder() / "init" / f"{name}.yaml")) == policy


def test_a_files_stem_is_its_name(tmp_path: Path) -> None:
    assert load_policy(write(tmp_path / "mine.yml", "rules: {a: {init: {weight: 0}}}")).name == "mine"
    assert load_policy(write(tmp_path / "mine.yml", "name: other\nrules: {a: {init: {weight: 0}}}")).name == "other"


def test_a_path_relative_to_where_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.yaml", "rules: {a: {init: {weight: 0}}}")
    assert load_policy("mine.yaml").name == "mine"
    (tmp_path / "he_relu").mkdir()
    assert load_policy("he_relu").name == "he_relu", "a bare name is a preset's, whatever lies about"


def test_json_and_a_byte_order_mark_are_yaml(tmp_path: Path) -> None:
    text = '\ufeff{"rules": {"a": {"init": {"weight": 1e-5}}}}'
    assert load_policy(write(tmp_path / "mine.json", text)).dump() == {"name": "mine", **spec(1e-5)}


def test_anchors_and_merge_keys_that_are_sound(tmp_path: Path) -> None:
    text = """
        rules:
          a: &a {match: &linear {type: Linear}, init: {weight: zeros}}
          b: {<<: *a, init: {bias: 0}}
          c: {match: {<<: *linear, name: head}, init: {weight: ones}}
    """
    linear = {"type": ["Linear"]}
    assert load_policy(write(tmp_path / "mine.yaml", text)).dump()["rules"] == {
        "a": {"match": linear, "init": {"weight": "zeros"}},
        "b": {"match": linear, "init": {"bias": 0}},
        "c": {"match": {**linear, "name": ["head"]}, "init": {"weight": "ones"}},
    }


def test_numpy_numbers_and_tuples_are_plain_data() -> None:
    raw = {
        "seed": np.int64(3),
        "vars": {"x": np.float32(0.5)},
        **rule(match={"type": ("A", "B")}, init={"*": np.float64(2)}),
    }
    assert load_policy(raw) == load_policy(
        {"seed": 3, "vars": {"x": 0.5}, **rule(match={"type": ["A", "B"]}, init={"*": 2.0})}
    )


def test_interpolations_in_a_dict_config() -> None:
    cfg = OmegaConf.create(
        {
            "width": 64,
            "init": {
                "name": "mine",
                "seed": "${width}",
                "vars": {"std": 0.5, "half": "${.std}"},
                "rules": {
                    "a": {
                        "match": {"type": ["${init.rules.c.match.type}", "Conv2d"]},
                        "init": {"weight": "${init.vars.std}"},
                    },
                    "b": "${.c}",
                    "c": {"match": {"type": "Linear"}, "init": {"weight": {"name": "normal", "std": "1 / ${width}"}}},
                },
            },
        }
    )
    OmegaConf.resolve(copy := OmegaConf.create(cfg))
    policy = load_policy(cfg.init)
    assert policy == load_policy(OmegaConf.to_container(copy.init))  # type: ignore[arg-type]  # a mapping
    assert policy.vars == {"std": 0.5, "half": 0.5}
    assert policy.seed == 64
    assert policy.rules["a"].match.type == ("Linear", "Conv2d")
    assert policy.rules["b"] == policy.rules["c"]
    assert policy.rules["c"].init["weight"].arguments == {"std": "1 / 64"}
    assert cfg.init.seed == 64, "reading changes nothing"
    OmegaConf.set_readonly(cfg, True)
    OmegaConf.set_struct(cfg, True)
    assert load_policy(cfg.init) == policy


def test_configs_inside_mappings_are_read() -> None:
    inner = OmegaConf.create({"std": 2, "rule": {"init": {"weight": {"name": "normal", "std": "${std}"}}}})
    assert load_policy({"rules": {"a": inner.rule}}).dump() == {"name": "policy", **spec({"name": "normal", "std": 2})}


def test_interpolations_in_a_file(tmp_path: Path) -> None:
    text = "vars: {std: 0.5}\nrules: {a: {init: {weight: {name: normal, std: '${vars.std}'}}}}"
    weight = load_policy(write(tmp_path / "mine.yaml", text)).rules["a"].init["weight"]
    assert weight.arguments == {"std": 0.5}


# --- what extends what ---------------------------------------------------------------------------

HEAD = "{head: {match: {name: head}, init: {weight: 0}}}"
EXTENDED: Mapping[str, Mapping[str, str]] = {
    "a rule more": {"mine": f"defaults: [he_relu, _self_]\nname: mine\nrules: {HEAD}"},
    "without a name": {"mine": f"defaults: [he_relu, _self_]\nrules: {HEAD}"},
    "without _self_, which comes last": {"mine": "defaults: [he_relu]\nname: mine\nunused: warn"},
    "_self_ first": {"mine": f"defaults: [_self_, he_relu]\nname: mine\nunused: warn\nrules: {HEAD}"},
    "an argument changed": {"mine": "defaults: [he_relu]\nrules: {rectified: {init: {weight: {mode: fan_out}}}}"},
    "a mapping replaced by a name": {"mine": "defaults: [he_relu]\nrules: {rectified: {init: {weight: zeros}}}"},
    "a number replaced by a mapping": {"mine": "defaults: [he_relu]\nrules: {norm: {init: {bias: {name: normal}}}}"},
    "a list replaced": {"mine": "defaults: [he_relu]\nrules: {rectified: {match: {type: [Linear]}}}"},
    "a value taken back": {"mine": "defaults: [base]\nseed: null", "base": f"name: base\nseed: 3\nrules: {HEAD}"},
    "a value asked for": {"mine": "defaults: [base]\nseed: 3", "base": f"name: base\nseed: ???\nrules: {HEAD}"},
    "two parents of one": {"mine": "defaults: [he_relu, xavier_tanh, _self_]\nname: mine"},
    "two parents the other way": {"mine": "defaults: [xavier_tanh, he_relu, _self_]\nname: mine"},
    "a parent twice": {"mine": "defaults: [he_relu, lecun_normal, he_relu]\nname: mine"},
    "a grandparent beside it": {
        "mine": f"defaults: [mother, _self_]\nrules: {HEAD}",
        "mother": "defaults: [grandmother]\nseed: 4\nvars: {x: 1}",
        "grandmother": "defaults: [lecun_selu, _self_]\nseed: 5\nvars: {x: 2, y: 3}",
    },
    "one of its own before ours": {
        "mine": "defaults: [he_relu]\nseed: 2",
        "he_relu": "name: theirs\nrules: {a: {init: {'*': 0}}}",
    },
    "with the suffix": {"mine": "defaults: [he_relu.yaml]\nname: mine"},
    "an empty list": {"mine": f"defaults: []\nname: mine\nrules: {HEAD}"},
    "relative interpolations": {
        "mine": "defaults: [base]\nvars: {std: 3}",
        "base": "name: base\nvars: {std: 1, twice: '${.std}'}\nrules: {a: {init: {weight: '${....vars.twice}'}}}",
    },
}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A user's configuration folder, which Hydra composes from."""
    (tmp_path / "init").mkdir()
    write(tmp_path / "main.yaml", "defaults: [init: mine]")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        yield tmp_path


@pytest.mark.parametrize("files", EXTENDED.values(), ids=list(EXTENDED))
def test_defaults_are_merged_as_hydra_does(project: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        write(project / "init" / f"{name}.yaml", text)
    composed = load_policy(compose("main").init)
    own = load_policy(project / "init" / "mine.yaml")
    assert own == composed
    assert list(own.rules) == list(composed.rules)


def test_a_child_appends_and_overrides(tmp_path: Path) -> None:
    parent, child = load_policy("he_relu"), load_policy(write(tmp_path / "mine.yaml", EXTENDED["a rule more"]["mine"]))
    assert child.name == "mine"
    assert child.description == parent.description
    assert list(child.rules) == [*parent.rules, "head"]
    assert {name: child.rules[name] for name in parent.rules} == parent.rules


def test_files_that_extend_each_other_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "defaults: [b]")
    write(tmp_path / "b.yaml", "defaults: [he_relu, c]")
    write(tmp_path / "c.yaml", "defaults: [b]")
    expected = "a: defaults: the files extend each other in a circle: b → c → b"
    assert messages(tmp_path / "a.yaml") == expected
    assert messages(tmp_path / ".." / tmp_path.name / "a.yaml") == expected


def test_a_mistake_in_what_is_extended_names_its_file(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "rules: {a: [}")
    write(tmp_path / "mine.yaml", "defaults: [base]")
    assert messages(tmp_path / "mine.yaml") == (
        "base: line 1, column 13: is not YAML: expected the node content, but found '}'"
    )


# --- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["1e-5", "'1e-5'", "1.0e-5", "0.00001"])
def test_oc1312_hy1926_dvc8466_numbers_with_an_exponent(tmp_path: Path, written: str) -> None:
    """YAML 1.1, which PyYAML reads, takes ``1e-5`` for text."""
    text = f"vars: {{std: {written}}}\nrules: {{a: {{init: {{weight: {written}}}}}}}"
    for source in (write(tmp_path / "mine.yaml", text), yaml.safe_load(text), OmegaConf.create(yaml.safe_load(text))):
        policy = load_policy(source)
        assert policy.vars == {"std": 1e-5}
        assert policy.rules["a"].init["weight"].arguments == {"value": 1e-5}


def test_oc1312_hy1926_dvc8466_merging_adds_a_rule_and_loses_none(tmp_path: Path) -> None:
    """A list of rules would be replaced by its child's; a mapping is merged, by OmegaConf too."""
    parent = load_policy("he_relu").dump()
    merged = OmegaConf.merge(parent, rule(), {"rules": {"norm": {"init": {"bias": 1}}}})
    assert list(load_policy(DictConfig(merged)).rules) == [*parent["rules"], "a"]
    assert load_policy(DictConfig(merged)).dump()["rules"]["norm"] == {
        **parent["rules"]["norm"],
        "init": {**parent["rules"]["norm"]["init"], "bias": 1},
    }


def test_hy3258_hy3409_nothing_named_in_a_policy_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap").mkdir()
    write(tmp_path / "trap" / "__init__.py", "raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = """
        name: trap.name
        activations: {trap: trap.Activation, head: {name: trap.Activation, slope: 1}}
        exclude: [{type: trap.Layer}]
        rules:
          a:
            match: {type: [trap.Layer, trap.sub.Layer], inside: trap.Layer, activation: trap.Act, not: {type: trap.B}}
            init: {weight: {call: trap.inits.fancy_, alpha: 1}, bias: trap.initializer, "*": {name: trap.other}}
    """
    policy = load_policy(write(tmp_path / "mine.yaml", text))
    assert policy.rules["a"].init["weight"].call == "trap.inits.fancy_"
    assert "trap" not in sys.modules
    refused = messages(write(tmp_path / "mine.yaml", "rules: {a: {init: {weight: {_target_: trap.inits.fancy_}}}}"))
    assert refused == (
        "mine: rules.a.init.weight: _target_ 'trap.inits.fancy_': only torch.nn.init functions are read as "
        "initializers; for a function of your own write 'call' and trust its package in the program"
    )
    assert "trap" not in sys.modules
    with pytest.raises(AssertionError, match="imported"):
        __import__("trap")


def test_the_language_needs_no_torch() -> None:
    """Reading a policy, its schema and drawing a report are as quick as a plug-in of Hydra must be."""
    code = (
        "import sys, initpolicy.policy, initpolicy.load, initpolicy.records, initpolicy.formula, initpolicy.render\n"
        "import initpolicy.errors, initpolicy.schema\n"
        "initpolicy.load.load_policy('recommended').dump(), initpolicy.schema.policy_schema()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    assert "initpolicy" in roots
    assert not {"torch", "lightning", "pytorch_lightning", "hydra", "scipy", "safetensors"} & roots


def test_a_policy_is_returned_as_it_is() -> None:
    policy = load_policy("he_relu")
    assert isinstance(policy, Policy)
    assert load_policy(policy) is policy
