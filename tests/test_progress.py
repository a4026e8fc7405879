"""A bar where someone watches, and a word on what is written where work is broken off."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import initpolicy as ip
from initpolicy import progress
from initpolicy.apply import write
from initpolicy.progress import Bar, Show
from initpolicy.writing import fill
from initpolicy.writing.prepare import values_of
from initpolicy.writing.watch import Watch

ORTHOGONAL = {"name": "orthogonal", "split": 2}
POLICY = {"name": "mine", "seed": 1, "rules": {"all": {"init": {"weight": ORTHOGONAL, "bias": 1}}}}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Puts a terminal in the place of stderr; called in the test, as pytest captures anew when that begins."""

    def put() -> Terminal:
        monkeypatch.setenv("TERM", "xterm")
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        found = Terminal()
        monkeypatch.setattr(sys, "stderr", found)
        return found

    return put


def closed() -> io.StringIO:
    found = io.StringIO()
    found.close()
    return found


def model() -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))


# --- the bar -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("show", "seconds", "seen"),
    [("auto", 1.9, False), ("auto", 2.0, True), (True, 0.0, True), (False, 99.0, False)],
)
def test_when_it_shows(watched: Callable[[], Terminal], clock: Clock, show: Show, seconds: float, seen: bool) -> None:
    terminal = watched()
    with Bar("mine", 4, show) as bar:
        clock.now = seconds
        bar.advance(3)
        assert (bar._shown is not None) is seen
        bar.advance(1)
    assert ("mine" in terminal.getvalue(), "100%" in terminal.getvalue()) == (seen, seen)


def test_what_was_done_before_it_showed_counts(watched: Callable[[], Terminal], clock: Clock) -> None:
    watched()
    with Bar("mine", 8, "auto") as bar:
        bar.advance(3)
        clock.now = 5.0
        bar.advance(2)
        assert bar._shown is not None
        assert bar._shown[0].tasks[0].completed == 5


@pytest.mark.parametrize("show", [True, False, "auto"])
@pytest.mark.parametrize("stream", [io.StringIO, closed, lambda: None])
def test_only_a_terminal_has_one(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, show: Show, stream: Callable[[], io.StringIO | None]
) -> None:
    found = stream()
    monkeypatch.setattr(sys, "stderr", found)
    with Bar("mine", 4, show) as bar:
        clock.now = 99.0
        bar.advance(4)
        assert bar._shown is None
    assert found is None or found.closed or not found.getvalue()


def test_it_goes_away_after_an_error(watched: Callable[[], Terminal]) -> None:
    terminal, bar = watched(), Bar("mine", 4, True)
    bar.advance(1)
    assert bar._shown is not None
    shown = bar._shown[0]
    assert shown.live.is_started
    with pytest.raises(ZeroDivisionError), bar:
        raise ZeroDivisionError
    assert not shown.live.is_started
    assert sys.stderr is terminal


# --- while a policy is applied -------------------------------------------------------------------


def test_applying_shows_the_policys_name(watched: Callable[[], Terminal]) -> None:
    terminal = watched()
    ip.apply_policy(model(), POLICY, progress=True)
    assert "mine" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_short_work_shows_nothing(watched: Callable[[], Terminal], clock: Clock) -> None:
    terminal = watched()
    ip.apply_policy(model(), POLICY)
    assert not terminal.getvalue()


def test_every_value_is_counted() -> None:
    """Parts that are kept, padding rows, other dtypes, parametrized weights and tensors without elements included."""
    net = nn.Module()
    net.table, net.rounded = nn.Embedding(10, 4, padding_idx=0), nn.Linear(9, 8).bfloat16()
    net.none = nn.Parameter(torch.zeros(0, 3))
    net.rnn, net.normed = nn.LSTM(3, 4), nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    parts = ["xavier_normal", "keep", "orthogonal", {"name": "sparse", "sparsity": 0.5}]
    policy = {"rules": {"all": {"init": {"*": 0.5, "weight_ih*": {"name": "blocks", "parts": parts}}}}}
    watch = Watch()
    write(ip.plan_policy(net, policy), net, 1, watch=watch)
    assert set(watch.states) == {name for name, _ in net.named_parameters() if "original" not in name} | {
        "normed.weight"
    }
    assert set(watch.states.values()) == {"written"}
    assert {name: watch._written.get(name, 0) for name in watch._sizes} == dict(watch._sizes)
    assert watch._sizes["rnn.weight_ih_l0"] == 3 * 4 * 3  # one gate of four is kept


def test_other_processes_have_none(watched: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them this is, torch.distributed says."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    for rank, shown in ((1, False), (0, True)):
        terminal = watched()
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        net = model()
        write(ip.plan_policy(net, POLICY), net, 1, watch=Watch("mine", True))
        assert ("mine" in terminal.getvalue()) is shown


@pytest.mark.parametrize("given", ["yes", None, 2])
def test_what_progress_may_be(given: Any) -> None:
    with pytest.raises(ip.PlanError) as caught:
        ip.apply_policy(model(), POLICY, progress=given)
    assert str(caught.value) == f"mine: progress: must be True, False or 'auto', not {given!r}"


# --- broken off ----------------------------------------------------------------------------------


def interrupting(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Ctrl-C when so many blocks have been made whole."""
    calls = iter(range(call))

    def made(*args: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return values_of(*args)

    monkeypatch.setattr(fill, "values_of", made)
    monkeypatch.setattr(fill, "_TOGETHER", 0)  # small ones too are made one by one


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (0, ["6 parameters still to be written: 0.weight, 0.bias, 1.weight and 3 more"]),
        (
            3,
            [
                "1 parameter written: 0.weight",
                "1 parameter written in part: 1.weight",
                "4 parameters still to be written: 0.bias, 1.bias, 2.weight and 1 more",
            ],
        ),
        (
            4,
            [
                "2 parameters written: 0.weight, 1.weight",
                "4 parameters still to be written: 0.bias, 1.bias, 2.weight and 1 more",
            ],
        ),
    ],
)
def test_what_is_written_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: int, said: list[str]
) -> None:
    net, whole = model(), model()
    ip.apply_policy(whole, POLICY)
    before = {name: param.detach().clone() for name, param in net.named_parameters()}
    state = torch.get_rng_state()
    interrupting(monkeypatch, call)
    with caplog.at_level(logging.DEBUG, logger="initpolicy"), pytest.raises(KeyboardInterrupt):
        ip.apply_policy(net, POLICY)
    [first, *rest] = caplog.records
    assert (first.levelname, first.getMessage()) == ("ERROR", f"mine: interrupted: {'; '.join(said)}")
    states = dict(record.getMessage().split(": ") for record in rest)
    assert list(states) == list(before)
    wanted = dict(whole.named_parameters())
    for name, param in net.named_parameters():
        same = {
            "written": torch.equal(param, wanted[name]),
            "written in part": not torch.equal(param, wanted[name]) and not torch.equal(param, before[name]),
            "still to be written": torch.equal(param, before[name]),
        }
        assert same[states[name]], name
    assert torch.equal(torch.get_rng_state(), state)


def test_before_anything_is_written(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def unusable(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("initpolicy.apply.unusable", unusable)
    with pytest.raises(KeyboardInterrupt):
        ip.apply_policy(model(), POLICY)
    assert [record.getMessage() for record in caplog.records] == ["mine: interrupted: nothing has been written"]


def test_a_meta_model_goes_back(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"):
        net = model()
    interrupting(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        ip.materialize(net, POLICY)
    said = "mine: interrupted: the model is what it was, and where it was"
    assert [record.getMessage() for record in caplog.records] == [said]
    assert all(param.is_meta for param in net.parameters())


def test_other_errors_say_nothing_of_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def made(*args: Any) -> Tensor:
        raise MemoryError

    monkeypatch.setattr(fill, "values_of", made)
    monkeypatch.setattr(fill, "_TOGETHER", 0)
    with pytest.raises(MemoryError):
        ip.apply_policy(model(), POLICY)
    assert not caplog.records
