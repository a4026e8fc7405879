"""Activations that the program gives a name to: what they are found by, what they carry, and what cannot be one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from planning_parts import decisions, rule
from torch import Tensor, nn

from initpolicy import InitPolicyError, PlanError, apply_policy, plan_policy, survey
from initpolicy.facts.find import Found, find_signals
from initpolicy.facts.recognize import POINTS
from initpolicy.facts.registered import Registered, register
from initpolicy.facts.sequential import find_in_sequentials
from initpolicy.records import Activation

# --- activations of a user's own -------------------------------------------------------------------


class Snake(nn.Module):
    """x + sin²(a x)/a."""

    def __init__(self, a: float = 1.0) -> None:
        super().__init__()
        self.a = a

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sin(self.a * x) ** 2 / self.a


class Slanted(nn.Module):
    """max(s x, x) with a slope for each channel, and no default."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((4,), slope))

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(self.slope * x, x)


class Scores(nn.Module):
    """Not elementwise."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(-1) * x.shape[-1]


class Both(nn.Sequential):
    """Two of torch's, one after the other."""

    def __init__(self) -> None:
        super().__init__(nn.Softplus(), nn.Tanh())


class OwnGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x)


class Inplace(nn.Module):
    """sin x, times x."""

    def forward(self, x: Tensor) -> Tensor:
        kept = x.clone()
        return x.sin_().mul_(kept)


class Cosine(torch.autograd.Function):
    """x cos x, without a backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        return x * torch.cos(x)


class OfFunction(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Cosine.apply(x)  # type: ignore[no-any-return,no-untyped-call]


class Gated(nn.Module):
    """Two inputs, one output."""

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * torch.sin(gate)


def cubed(x: Tensor) -> Tensor:
    return F.relu(x) ** 3


def squashed(x: Tensor) -> Tensor:
    return torch.tanh(F.softplus(x))


def bent(x: Tensor) -> Tensor:
    return (x - 0.3).abs()


def stepped(x: Tensor) -> Tensor:
    return torch.where(x > 0.7, x, torch.zeros_like(x))


class Calls(nn.Module):
    """Runs what it is given."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)


class Around(nn.Module):
    """Does something with a snake."""

    def __init__(self, way: Callable[[Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        self.way, self.snake = way, Snake()

    def forward(self, x: Tensor) -> Tensor:
        return self.way(x, self.snake)


class Mlp(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.act = act
        self.up, self.down = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.act(self.up(x)))  # type: ignore[no-any-return]


X = torch.zeros(2, 4)
DENSITY, TAIL = math.exp(-0.245) / math.sqrt(2 * math.pi), math.erfc(0.7 / math.sqrt(2)) / 2
"""The normal density at 0.7 and the mass beyond it."""
SNAKE = (1.375 - math.exp(-2) / 2 + math.exp(-8) / 8) ** -0.5
"""E[(z + sin²z)²] = 1 + 3/8 - exp(-2)/2 + exp(-8)/8."""


def root(f: Callable[[float], float]) -> float:
    """(E[f(z)²])^(-1/2) by the trapezoidal rule on [-12, 12], whose error is nothing for smooth f."""
    step = 1 / 256
    total = math.fsum(f(i * step) ** 2 * math.exp(-((i * step) ** 2) / 2) for i in range(-3072, 3073))
    return 1 / math.sqrt(total * step / math.sqrt(2 * math.pi))


def squash(z: float) -> float:
    return math.tanh(math.log1p(math.exp(z)))


def slope_of_squash(z: float) -> float:
    return (1 - squash(z) ** 2) / (1 + math.exp(-z))


SQUASHED = (root(squash), root(slope_of_squash))
SNAKE_BACK = root(lambda z: 1 + math.sin(2 * z))
COSINE = (root(lambda z: z * math.cos(z)), root(lambda z: math.cos(z) - z * math.sin(z)))
SINE = (root(lambda z: z * math.sin(z)), root(lambda z: math.sin(z) + z * math.cos(z)))
TWICE_AS_FAST = (
    root(lambda z: z + math.sin(2 * z) ** 2 / 2),
    root(lambda z: 1 + math.sin(4 * z)),
)
GELU = (1.5335304412, 1.4811144127)
KINKED = math.sqrt(2 / 1.04)


def found(model: nn.Module, activations: Mapping[str, Any], example: Any = X) -> Found:
    return find_signals(model, example, own=register(activations, "test"))


def answers(model: nn.Module, activations: Mapping[str, Any], site: str = "up.weight") -> list[tuple[str, str]]:
    """What follows: (name, class)."""
    hits = found(model, activations).signals[site].following
    return [(str(hit.activation), hit.activation.class_name) for hit in hits]


ENTRIES: list[tuple[Any, Callable[[], Callable[[Tensor], Tensor]], str, tuple[float, float] | None]] = [
    # (what is registered, what the model runs, its class, the gains by hand)
    (Snake, Snake, "Snake", (SNAKE, SNAKE_BACK)),
    (Snake, lambda: Snake(2.0), "Snake", TWICE_AS_FAST),
    (Snake(2.0), Snake, "Snake", (SNAKE, SNAKE_BACK)),
    (Slanted, lambda: Slanted(0.2), "Slanted", (KINKED, KINKED)),
    (Scores, Scores, "Scores", None),
    (Both, Both, "Both", SQUASHED),
    (OwnGelu, OwnGelu, "OwnGelu", GELU),
    (Inplace, Inplace, "Inplace", SINE),
    (OfFunction, OfFunction, "OfFunction", COSINE),
    (cubed, lambda: cubed, "", (7.5**-0.5, 13.5**-0.5)),
    (cubed, lambda: Calls(cubed), "Calls", (7.5**-0.5, 13.5**-0.5)),
    (squashed, lambda: squashed, "", SQUASHED),
    (squashed, lambda: Calls(squashed), "Calls", SQUASHED),
    (nn.Sequential(nn.Softplus(), nn.Tanh()), lambda: squashed, "", SQUASHED),
    (squashed, lambda: nn.Sequential(nn.Softplus(), nn.Tanh()), "", SQUASHED),
    (bent, lambda: bent, "", (1.09**-0.5, 1.0)),
    (bent, lambda: Calls(lambda x: torch.sqrt((x - 0.3) ** 2)), "Calls", (1.09**-0.5, 1.0)),
    (stepped, lambda: stepped, "", ((0.7 * DENSITY + TAIL) ** -0.5, TAIL**-0.5)),
]


@pytest.mark.parametrize(("given", "make", "own", "gains"), ENTRIES)
def test_it_is_found_under_its_name_with_its_own_gains(
    given: Any, make: Callable[[], Callable[[Tensor], Tensor]], own: str, gains: tuple[float, float] | None
) -> None:
    signals = found(Mlp(make()), {"mine": given}).signals
    (after,), (before,) = signals["up.weight"].following, signals["down.weight"].preceding
    for activation in (after.activation, before.activation):
        assert (activation.name, activation.arguments, activation.class_name) == ("mine", (), own)
        assert activation.exact == (None if gains is None else pytest.approx(gains, rel=1e-6))


@pytest.mark.parametrize(("given", "make", "own", "gains"), ENTRIES)
def test_order_alone_finds_it_too(
    given: Any, make: Callable[[], Callable[[Tensor], Tensor]], own: str, gains: tuple[float, float] | None
) -> None:
    act = make()
    act = act if isinstance(act, nn.Module) else Calls(act)
    known = find_in_sequentials(nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4)), register({"mine": given}, "test"))
    (after,), (before,) = known["0.weight"].following, known["2.weight"].preceding
    assert (after.activation.name, before.activation) == ("mine", after.activation)
    assert after.activation.class_name == type(act).__name__
    by_itself = gains if not isinstance(act, Slanted) else None  # a slope for each channel is for the trace
    assert after.activation.exact == (None if by_itself is None else pytest.approx(by_itself, rel=1e-6))


def test_without_a_name_the_same_models_have_other_answers() -> None:
    assert answers(Mlp(Snake()), {}) == [("Snake", "Snake")]
    assert answers(Mlp(OwnGelu()), {}) == [("gelu", "OwnGelu")]
    assert answers(Mlp(squashed), {}) == [("softplus(beta=1, threshold=20)", "")]
    assert answers(Mlp(cubed), {}) == [("relu", "")]
    assert answers(Mlp(bent), {}) == [("custom", "")]


@pytest.mark.parametrize(
    ("model", "activations", "expected"),
    [
        # A name changes nothing for others.
        (Mlp(nn.ReLU()), {"mine": Snake, "other": cubed}, [("relu", "")]),
        (Mlp(lambda x: F.relu(x) ** 2), {"mine": cubed}, [("relu_squared", "")]),
        (Mlp(lambda x: F.relu(x) ** 4), {"mine": cubed}, [("relu", "")]),
        (Mlp(lambda x: (x - 0.31).abs()), {"mine": bent}, [("custom", "")]),
        # What comes first counts, and what only scales or shifts does not.
        (Mlp(lambda x: squashed(torch.relu(x))), {"mine": squashed}, [("relu", "")]),
        (Mlp(lambda x: squashed(x * 3 + 0.5)), {"mine": squashed}, [("mine", "")]),
        (Mlp(Around(lambda x, act: act(x * 3))), {"mine": Snake}, [("mine", "Snake")]),
        (Mlp(nn.Sequential(nn.Dropout(0.1), nn.LayerNorm(4), Snake())), {"mine": Snake}, [("mine", "Snake")]),
        (Mlp(Around(lambda x, act: act(torch.exp(x)))), {"mine": Snake}, [("custom", "")]),
        (Mlp(Around(lambda x, act: x + act(x))), {"mine": Snake}, [("mine", "Snake")]),
        (Mlp(Around(lambda x, act: x.sin() * act(x))), {"mine": Snake}, [("mine", "Snake"), ("sin(frequency=1)", "")]),
        # A base lends its name.
        (Mlp(type("Faster", (Snake,), {})()), {"mine": Snake}, [("mine", "Faster")]),
    ],
)
def test_what_it_is_told_apart_from(
    model: nn.Module, activations: Mapping[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert answers(model, activations) == expected


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate, self.down, self.act = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), Gated()

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.act(self.value(x), self.gate(x)))  # type: ignore[no-any-return]


def test_one_of_two_inputs_follows_both_and_has_no_gain() -> None:
    signals = found(TwoInputs(), {"mine": Gated}).signals
    for hits in (signals["value.weight"].following, signals["gate.weight"].following, signals["down.weight"].preceding):
        assert {hit.activation for hit in hits} == {Activation(name="mine", class_name="Gated")}


def test_the_nearest_class_counts() -> None:
    class Inner(Snake):
        pass

    own = register({"outer": Snake, "inner": Inner}, "test")
    assert [own.name_of(kind) for kind in (Snake, Inner, type("Last", (Inner,), {}), nn.ReLU)] == [
        "outer", "inner", "inner", ""
    ]  # fmt: skip


def test_a_class_that_takes_arguments_has_the_gains_of_the_first_that_is_found() -> None:
    assert register({"mine": Slanted}, "test").activations["mine"].exact is None
    known = found(Mlp(Slanted(0.2)), {"mine": Slanted, "other": Snake}).activations
    assert known["mine"].exact == pytest.approx((KINKED, KINKED), rel=1e-6)
    assert known["other"].exact == pytest.approx((SNAKE, SNAKE_BACK), rel=1e-6)


def test_nothing_is_kept_between_calls() -> None:
    assert survey(Mlp(Snake()), X, activations={"mine": Snake}).activations.keys() == {"mine"}
    assert survey(Mlp(Snake()), X).activations == {}
    assert answers(Mlp(Snake()), {}) == [("Snake", "Snake")]


def test_it_leaves_the_module_and_chance_alone() -> None:
    noisy = Snake()
    noisy.register_forward_hook(lambda *_: pytest.fail("a hook ran"))
    state = torch.get_rng_state()
    register({"mine": noisy, "made": type("Draws", (Snake,), {"__init__": draws})}, "test")
    assert torch.equal(torch.get_rng_state(), state)


def draws(self: Snake) -> None:
    nn.Module.__init__(self)
    self.a = float(torch.rand(()) + 1)


class Unrun(nn.Module):
    """A row, in a forward that no made-up input passes."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        own = act if isinstance(act, nn.Module) else Calls(act)
        self.row = nn.Sequential(nn.Linear(4, 4), own, nn.Linear(4, 4))

    def forward(self, x: Mapping[str, Tensor], key: str) -> Tensor:
        return self.row(x[key])  # type: ignore[no-any-return]


class Never(Unrun):
    def forward(self, x: Mapping[str, Tensor], key: str) -> Tensor:
        raise RuntimeError("not here")


@pytest.mark.parametrize(("kind", "found_by"), [(Unrun, "torch.fx"), (Never, "sequential")])
@pytest.mark.parametrize("act", [Snake(), squashed])
def test_weaker_finders_know_it(
    kind: Callable[[Any], nn.Module], found_by: str, act: Callable[[Tensor], Tensor]
) -> None:
    known = found(kind(act), {"snake": Snake, "squashed": squashed}, None).signals["row.0.weight"]
    assert known.found_by == found_by
    assert [hit.activation.name for hit in known.following] == ["snake" if isinstance(act, Snake) else "squashed"]


# --- what a policy does with it ------------------------------------------------------------------


class Net(nn.Module):
    """One use that is seen, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.mid, self.down, self.act = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), Snake()

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.relu(self.mid(self.act(self.up(x)))))  # type: ignore[no-any-return]


RULES = {
    "all": rule(0),
    "mine": rule({"weight": "kaiming_normal"}, activation="snake"),
    "after": rule({"weight": {"name": "kaiming_normal", "nonlinearity": "snake"}}, input_activation=["snake"]),
}


def test_match_gain_and_audit_have_the_name() -> None:
    audit = apply_policy(Net(), {"seed": 1, "rules": RULES}, example_input=X, activations={"snake": Snake})
    rows = {row.name: row for row in audit.rows}
    assert {name: row.rule for name, row in rows.items() if row.rule != "all"} == {
        "up.weight": "mine", "mid.weight": "after"
    }  # fmt: skip
    assert (rows["up.weight"].activation, rows["mid.weight"].input_activation) == ("snake", "snake")
    assert [rows[name].gain for name in ("up.weight", "mid.weight")] == pytest.approx([SNAKE, SNAKE])
    assert (rows["up.weight"].gain_from, rows["mid.weight"].gain_from) == ("following snake", "given snake")
    assert audit.ok


@pytest.mark.parametrize("gains", ["torch", "exact"])
def test_both_ways_to_count_gains_take_its_own(gains: str) -> None:
    policy = {"rules": RULES, "gains": gains}
    made = plan_policy(Net(), policy, example_input=X, activations={"snake": Snake})
    assert [a.gain for a in made.assignments if a.rule == "mine"] == [pytest.approx(SNAKE, rel=1e-9)]


def test_theory_takes_the_derivatives_gain_backwards() -> None:
    rules = {"all": rule({"weight": {"name": "kaiming_normal", "mode": "fan_out"}, "bias": 0})}
    policy = {"rules": rules, "nonlinearity": "theory"}
    made = plan_policy(Net(), policy, example_input=X, activations={"snake": Snake})
    (up,) = (a for a in made.assignments if a.name == "up.weight")
    assert up.gain == pytest.approx(SNAKE_BACK)
    assert up.gain_from == "following snake, backward"


def test_a_policy_may_state_it() -> None:
    rules = {"all": rule(0), "mine": rule({"weight": "kaiming_normal"}, activation="cubed")}
    policy = {"rules": rules, "activations": {"^down$": "cubed"}}
    made = plan_policy(Net(), policy, example_input=X, activations={"cubed": cubed})
    (down,) = (a for a in made.assignments if a.rule == "mine")
    assert down.gain == pytest.approx(7.5**-0.5)
    assert (down.name, down.found_by) == ("down.weight", "declared")
    assert (down.path, down.other_hits) == ((), ())


def test_its_class_and_custom_match_it_as_well() -> None:
    rules = {"all": rule(0), "mine": rule({"weight": 1}, activation="Snake", expect=1)}
    for word in ("Snake", "custom"):
        asked = {**rules, "mine": rule({"weight": 1}, activation=word, expect=1)}
        made = plan_policy(Net(), {"rules": asked}, example_input=X, activations={"snake": Snake})
        assert decisions(made)["up.weight"] == "mine"


def refused(policy: Mapping[str, Any], activations: Mapping[str, Any]) -> str:
    with pytest.raises(InitPolicyError) as error:
        plan_policy(Net(), {"name": "p", **policy}, example_input=X, activations=activations)
    return str(error.value)


def test_words_of_a_policy_that_are_almost_its_name() -> None:
    unknown = "'snak' is no known activation and no class of this model; did you mean 'snake'?"
    given = {"snake": Snake}
    assert refused({"rules": {"all": rule(0, activation="snak")}}, given) == f"p: rules.all.match.activation: {unknown}"
    stated = {"rules": {"all": rule(0)}, "activations": {"^up$": "snak"}}
    assert refused(stated, given) == f"p: activations.^up$: {unknown}"
    stated = {"rules": {"all": rule(0)}, "activations": {"^up$": {"name": "snake", "a": 2}}}
    assert refused(stated, given) == "p: activations.^up$: snake takes no arguments, not a"
    spec = {"rules": {"all": rule({"weight": {"name": "kaiming_normal", "nonlinearity": "snak"}})}}
    assert refused(spec, given) == (
        "p: rules.all.init.weight.nonlinearity: 'snak' is no known activation, nor one of following, preceding, "
        "theory; did you mean 'snake'?"
    )


def test_it_may_not_have_the_name_of_another_class_of_the_model() -> None:
    policy = {"rules": {"all": rule(0)}}
    taken = "the model has a class of this name; choose another name for"
    assert refused(policy, {"Snake": cubed}) == f"p: activations['Snake']: {taken} a function"
    assert refused(policy, {"Snake": Both}) == f"p: activations['Snake']: {taken} the class Both"
    assert (
        plan_policy(Net(), policy, example_input=X, activations={"Snake": Snake}).assignments[0].activation == "Snake"
    )


def test_one_that_is_nowhere_says_what_is_there() -> None:
    assert refused({"rules": RULES}, {"snake": cubed}) == (
        "p: rules.mine: claims no parameter. The model has 5 modules; none of the 3 parameters that fit is followed by "
        "snake; found: Snake ×1, identity ×1, relu ×1\n"
        "p: rules.after: claims no parameter. The model has 5 modules; none of the 3 parameters that fit is preceded "
        "by snake; found: Snake ×1, identity ×1, relu ×1"
    )


# --- what cannot be one --------------------------------------------------------------------------

CLASS = "give it a class of torch.nn.Module that computes it"
NO_RUN = "cannot be run on a tensor of float64"
INFINITE = "it is not finite between -10 and 10, so it has no moments to compute"
WHAT = "must be a function of one tensor, a class of torch.nn.Module, or a module, not "


MISTAKES: list[tuple[Mapping[Any, Any], str]] = [
    ({"relu": Snake}, "'relu': the vocabulary has an activation of this name; choose another name for Snake"),
    ({"ReLU": Snake}, "'ReLU': the vocabulary calls relu so; choose another name for Snake"),
    ({"swish": Snake()}, "'swish': the vocabulary calls silu so; choose another name for Snake"),
    ({"linear": cubed}, "'linear': the vocabulary calls identity so; choose another name for cubed"),
    ({"theory": cubed}, "'theory': 'theory' means something else in a policy; choose another name for cubed"),
    ({"custom": lambda x: x}, "'custom': 'custom' means something else in a policy; choose another name for function"),
    ({" a": Snake}, "' a': a name must be a text, without blanks around it"),
    ({"": Snake}, "'': a name must be a text, without blanks around it"),
    ({3: Snake}, "3: a name must be a text, without blanks around it"),
    ({"a": 3}, f"'a': {WHAT}3"),
    ({"a": "relu"}, f"'a': {WHAT}'relu'"),
    ({"a": dict}, f"'a': {WHAT}the class dict"),
    ({"a": nn.GELU}, "'a': GELU is torch's own, and gelu in the vocabulary"),
    ({"a": nn.Threshold}, "'a': Threshold is torch's own, and nothing of yours"),
    ({"a": nn.Linear}, "'a': Linear is torch's own, and nothing of yours"),
    ({"a": nn.Sequential(nn.Linear(2, 2))}, f"'a': has more than single numbers for parameters; {CLASS}"),
    ({"a": nn.ReLU()}, f"'a': computes relu, which the vocabulary names; ask for relu, or {CLASS}"),
    (
        {"a": lambda x: x * torch.sigmoid(x)},
        f"'a': computes silu, which the vocabulary names; ask for silu, or {CLASS}",
    ),
    (
        {"a": lambda x: 2 * x + 1},
        f"'a': computes identity(scale=2, shift=1), which the vocabulary names; ask for identity, or {CLASS}",
    ),
    (
        {"a": lambda x: x.cumsum(-1)},
        f"'a': is not elementwise: it must give one number for each, by that number alone; {CLASS}",
    ),
    (
        {"a": lambda x: x[:1]},
        f"'a': is not elementwise: it must give one number for each, by that number alone; {CLASS}",
    ),
    (
        {"a": lambda x: x.reshape(426) ** 3},
        f"'a': is not elementwise: it must give one number for each, by that number alone; {CLASS}",
    ),
    (
        {"a": torch.sqrt},
        f"'a': gives NaN, as at {float(POINTS[0]):.4g}: an activation is called with every number; {CLASS}",
    ),
    (
        {"a": lambda x: x.no_such()},
        f"'a': {NO_RUN}: AttributeError: 'Tensor' object has no attribute 'no_such'; {CLASS}",
    ),
    (
        {"a": lambda x: 1 / x},
        f"'a': has no gain that can be computed: {INFINITE}; {CLASS}",
    ),
]


@pytest.mark.parametrize(("activations", "message"), MISTAKES)
def test_mistakes(activations: Mapping[Any, Any], message: str) -> None:
    with pytest.raises(PlanError) as error:
        register(activations, "p")
    assert str(error.value) == f"p: activations[{message.partition(':')[0]}]:{message.partition(':')[2]}"


def test_mistakes_are_told_together_and_two_names_for_one_thing_are_one() -> None:
    with pytest.raises(PlanError) as error:
        survey(
            Net(),
            activations={"a": Snake, "b": Snake(2.0), "c": cubed, "d": lambda x: F.relu(x) * x**2, "tanh": bent},
        )
    assert str(error.value).splitlines() == [
        "survey: activations['b']: Snake has the name 'a' already; give it one",
        "survey: activations['d']: computes what 'c' does; give that one name",
        "survey: activations['tanh']: the vocabulary has an activation of this name; choose another name for bent",
    ]


def test_it_must_be_a_mapping() -> None:
    with pytest.raises(PlanError) as error:
        apply_policy(Net(), {"name": "p", "rules": {"all": rule(0)}}, activations=[Snake])  # type: ignore[arg-type]
    assert str(error.value) == "p: activations: must map names to activations, not be of type list"
    assert register(None, "p") == register({}, "p") == Registered()


# --- Lightning -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
def test_lightning_takes_them_too(tmp_path: Path) -> None:
    import pytorch_lightning as pl
    from lightning_parts import Data, make_trainer

    from initpolicy import InitPolicyCallback

    class Fitted(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)  # type: ignore[no-any-return]

        def training_step(self, batch: Tensor, index: int) -> Tensor:
            return self(batch).square().mean()  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

        def train_dataloader(self) -> Any:
            return Data()

    policy = {"name": "p", "seed": 1, "rules": RULES}
    for example in (None, X):
        inner = "net" if example is not None else None
        callback = InitPolicyCallback(policy, module=inner, example_input=example, activations={"snake": Snake})
        trainer = make_trainer(pl, tmp_path, callback)
        trainer.fit(Fitted())
        assert callback.audit is not None
        assert [row.activation for row in callback.audit.rows if row.rule == "mine"] == ["snake"]
    with pytest.raises(PlanError) as error:
        InitPolicyCallback(policy, activations={"relu": Snake})
    assert str(error.value) == (
        "p: activations['relu']: the vocabulary has an activation of this name; choose another name for Snake"
    )
