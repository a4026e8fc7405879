"""Trains a classifier of scanned digits from weights that a policy chose.

    python examples/train.py init=he_relu
    python examples/train.py init=xavier_tanh model=mlp model.activation=Tanh
    python examples/train.py -m init=he_relu,xavier_tanh,lecun_selu

Each run's folder under outputs/ (multirun/ for the last) holds init_audit.csv: what every parameter got, and why.
"""

from __future__ import annotations

import logging

import hydra
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

import digits
from initpolicy import InitPolicyCallback

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """One run; its accuracy on the test digits."""
    pl.seed_everything(cfg.seed)
    torch.set_num_threads(1)  # so small a model gains nothing from more, and loses much where others compute too
    train, test = digits.load(cfg.batch_size)
    classifier = digits.Classifier(instantiate(cfg.model), instantiate(cfg.optimizer))
    trainer = instantiate(cfg.trainer, callbacks=[InitPolicyCallback(cfg.init, seed=cfg.seed)])
    trainer.fit(classifier, train)
    [metrics] = trainer.test(classifier, test, verbose=False)
    accuracy: float = metrics["test_accuracy"]
    log.info("test accuracy %.4f", accuracy)
    return accuracy


if __name__ == "__main__":
    main()
