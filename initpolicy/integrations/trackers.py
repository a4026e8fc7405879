"""The audit, for whichever experiment trackers a run has: by what they offer, so that none has to be installed."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping
from typing import Any

from initpolicy.audit import Audit
from initpolicy.render import csv as as_csv
from initpolicy.render import markdown

__all__ = ["counts", "track"]

_log = logging.getLogger("initpolicy")


def counts(audit: Audit) -> dict[str, int]:
    """How many parameters have each status, and how many are not what was asked (``off``)."""
    return {**audit.totals, "off": sum(row.verdict == "off" for row in audit.rows)}


def track(audit: Audit, logger: Any, label: str, own: Mapping[str, Any] | None) -> None:
    """Give one Lightning logger what it can take of the audit; a tracker that fails costs a warning, not the run.

    TensorBoard: the report as text, the counts as scalars. W&B (``logger.log_table``): a table, a row a parameter.
    MLflow (``experiment.log_text``): the artifacts ``LABEL.csv`` and ``LABEL.md``. All of them, and any other: the
    policy's name, fingerprint and seed, and the counts, among the hyperparameters.

    Args:
        audit: what was done.
        logger: any of ``trainer.loggers``.
        label: the name it is logged under.
        own: the run's own hyperparameters, which Lightning is about to log; None: it logs none, so nor does this.
    """
    try:
        _send(audit, logger, label, own)
    except Exception as error:
        _log.warning("%s did not take the audit: %s: %s", type(logger).__name__, type(error).__name__, error)


def _send(audit: Audit, logger: Any, label: str, own: Mapping[str, Any] | None) -> None:
    header, rows = audit.header, audit.rows
    found = {"name": header.policy, "fingerprint": header.fingerprint, "seed": header.seed, **counts(audit)}
    facts: dict[str, Any] = {f"{label}/{key}": value for key, value in found.items()}
    experiment: Any = getattr(logger, "experiment", None)
    if _offers(experiment, "add_text", "add_scalar"):
        experiment.add_text(label, markdown(header, rows), 0)
        for key, count in counts(audit).items():
            experiment.add_scalar(f"{label}/{key}", count, 0)
        # TensorBoard shows the first hyperparameters of a run and no later ones: the run's own must be among them.
        facts = {**(own or {}), **facts}
    elif _offers(logger, "log_table"):
        columns, *data = csv.reader(io.StringIO(as_csv(header, rows)))
        logger.log_table(key=label, columns=columns, data=data)
    elif isinstance(getattr(logger, "run_id", None), str) and _offers(experiment, "log_text"):
        experiment.log_text(logger.run_id, as_csv(header, rows), f"{label}.csv")
        experiment.log_text(logger.run_id, markdown(header, rows), f"{label}.md")
    if own is not None:
        logger.log_hyperparams(facts)


def _offers(thing: Any, *methods: str) -> bool:
    return all(callable(getattr(thing, method, None)) for method in methods)
