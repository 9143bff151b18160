"""Metrics in printed lines: a table of lines as programs print them, and text of any kind."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.record.observed.printed import parse_line

RIGHT = [
    ("epoch 3 loss=0.123 acc: 0.98", {"loss": 0.123, "acc": 0.98}, 3),
    ("step 10/100 | loss 0.5 | lr 1e-3", {"loss": 0.5, "lr": 1e-3}, 10),
    ('{"epoch": 2, "loss": 0.5, "time": 3.2, "done": true}', {"loss": 0.5}, 2),
    ("{'loss': 0.5, 'learning_rate': 5e-05, 'epoch': 1.0}", {"loss": 0.5, "learning_rate": 5e-05}, 1),
    ("{'eval_loss': 0.4, 'eval_runtime': 1.9, 'eval_samples_per_second': 88.1, 'epoch': 2.0}", {"eval_loss": 0.4}, 2),
    ("Train Epoch: 1 [0/60000 (0%)]\tLoss: 2.300000", {"loss": 2.3}, 1),
    ("Test set: Average loss: 0.0287, Accuracy: 9905/10000 (99%)", {"average_loss": 0.0287}, None),
    ("63/63 [======] - 1s 3ms/step - loss: 0.3 - accuracy: 0.9 - val_loss: 0.2", {"loss": 0.3, "accuracy": 0.9, "val_loss": 0.2}, None),
    ("63/63 ━━━━━━━━━━ 0s 2ms/step - accuracy: 0.91 - loss: 0.25", {"accuracy": 0.91, "loss": 0.25}, None),
    ("Epoch 3: 100%|██████████| 100/100 [00:12<00:00,  8.1it/s, loss=0.12, v_num=0]", {"loss": 0.12}, 3),
    ("Train Loss: 0.5, Test Acc: 98.2%", {"train_loss": 0.5, "test_acc": 98.2}, None),
    ("2026-11-21 10:00:00,123 INFO train.py:45 loss=0.5", {"loss": 0.5}, None),
    ("INFO:root:epoch 4 val_acc 0.91", {"val_acc": 0.91}, 4),
    ("iter 20: loss 4.1234, time 123.45ms, mfu 12.3%", {"loss": 4.1234}, 20),
    ("step 0: train loss 4.2874, val loss 4.2823", {"train_loss": 4.2874, "val_loss": 4.2823}, 0),
    ("Epoch: [3][ 10/391]\tTime  0.123 ( 0.130)\tLoss 1.2e+00 (1.3e+00)\tAcc@1  51.56 ( 50.00)", {"loss": 1.2, "acc@1": 51.56}, 3),
    ("[epoch 3] mAP50: 0.412 mAP50-95: 0.231", {"mAP50": 0.412, "mAP50-95": 0.231}, 3),
    ("step=5 throughput=120.5 loss=1.0", {"loss": 1.0}, 5),
    ("Best accuracy: 93.12 at epoch 17", {"best_accuracy": 93.12}, 17),
    ("10:32:01 | epoch 1 | train/loss 0.4 | val/loss 0.5", {"train/loss": 0.4, "val/loss": 0.5}, 1),
    ("reward: -12.5", {"reward": -12.5}, None),
    ("global_step=1200 epoch=3 kl=.5", {"kl": 0.5}, 1200),
    ("\x1b[32mepoch 2\x1b[0m loss=0.25", {"loss": 0.25}, 2),
    ("epoch 1 grad_norm=3.5", {"grad_norm": 3.5}, 1),
]
WRONG = [
    "Epoch 1/5",
    "32/63 [====>.....] - ETA: 0s - loss: 0.3123",
    "Epoch 3:  45%|████▌     | 45/100 [00:05<00:06,  8.1it/s, loss=0.12]",
    "time: 0.5s eta: 0:05:00",
    "GPU memory: 1.2 GB",
    "speed: 120 img/s",
    "batch_size=32 epochs=10 lr=0.1",
    "listening on localhost:8080",
    "loaded 1000 images from /data/v1.2/train",
    "downloading 45.2 MB loss",
    "accuracy of the method is 5",
    "elapsed=12.3 epoch=3",
    "saved to runs/loss_0.5.pt",
    "saved epoch=3-loss=0.5.ckpt",
    "torch 2.15.0 numpy 1.26",
    "Epoch 5 took 12.5 s",
    "seed=7",
    "version: 1.2.3",
    "the error 404 was returned",
    "loss=12:30",
    "[1, 2, 3]",
    '{"name": "loss"}',
    "Namespace(lr=0.1, workers=4)",
    '  File "train.py", line 12, in <module>',
    "Accuracy: 9905/10000",
    "wrote 12 files in 0.3 s, 40% done",
]


@pytest.mark.parametrize(("line", "values", "step"), RIGHT)
def test_lines_that_name_metrics(line: str, values: dict[str, float], step: int | None) -> None:
    point = parse_line(line)

    assert point is not None
    assert (point.values, point.step) == (values, step)


@pytest.mark.parametrize("line", WRONG)
def test_times_rates_sizes_counts_paths_and_prose_are_no_metrics(line: str) -> None:
    assert parse_line(line) is None


def test_a_number_that_is_none_is_a_number() -> None:
    point = parse_line("epoch 1 loss=nan val_loss=-inf")

    assert point is not None
    assert math.isnan(point.values["loss"])
    assert point.values["val_loss"] == -math.inf


@given(
    st.one_of(
        st.text(max_size=1200),
        st.lists(
            st.sampled_from(["loss", "=", ":", " ", "1", ".", "epoch", "{", "}", "'", "e", "-", "%", "|", "\t", "9" * 400, "train"])
        ).map("".join),
    )
)
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_without_an_error(line: str) -> None:
    point = parse_line(line)

    assert point is None or (point.values and all(isinstance(value, float) for value in point.values.values()))


@pytest.mark.parametrize("piece", ["a", "a ", "a=", "loss 1 ", "1", "epoch ", "{", "loss: ", "\t", "train ", "{'a':", "a/", "1e", "\x1b["])
def test_a_line_of_any_shape_takes_no_long_time(piece: str) -> None:
    line = (piece * 1000)[:1000]
    parse_line(line)
    began = time.process_time()
    for _ in range(20):
        parse_line(line)

    assert (time.process_time() - began) / 20 < 0.02
