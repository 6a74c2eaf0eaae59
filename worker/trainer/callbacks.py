"""What happens between two steps: numbers out, orders in, checkpoints sealed."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from worker.child import Child, JobError, Stopped
from worker.trainer import checkpoints, ranks
from worker.trainer.protocol import Checkpoint, Metric
from worker.trainer.specs import CHECKPOINTS_DIR

#: Kept beside the best; the database keeps the same ones (app/domain/jobs/checkpoints.py).
_NEWEST = 2
#: Of the trainer's log lines: words about the whole run, and times that the clock here tells better.
_NOT_SHOWN = frozenset({"epoch", "total_flos", "train_loss", "eval_num_tokens"})
_Reason = Literal["schedule", "pause", "drain", "request", "end"]
_HEARD: tuple[Literal["pause", "drain", "request", "schedule"] | None, ...] = (
    None,
    "pause",
    "drain",
    "request",
    "schedule",
)


class Counting:
    """Counts the tokens of each batch, padding not included. A loader runs ahead: a batch counts when it is used."""

    def __init__(self) -> None:
        self._ready: deque[int] = deque()
        self._ahead = 0
        self.tokens = 0

    def around(self, collator: Callable[[list[dict[str, Any]]], Any]) -> Callable[[list[dict[str, Any]]], Any]:
        """`collator`, counted."""

        def collate(rows: list[dict[str, Any]]) -> Any:
            self._ready.append(sum(len(row["input_ids"]) for row in rows))
            return collator(rows)

        return collate

    def used(self) -> None:
        """The next batch was trained on."""
        self.tokens += self._ready.popleft() if self._ready else 0
        self._ahead = len(self._ready)

    def evaluated(self) -> None:
        """Forget the batches that were only looked at."""
        while len(self._ready) > self._ahead:
            self._ready.pop()

    def take(self) -> int:
        """Tokens trained on since this was last asked."""
        tokens, self.tokens = self.tokens, 0
        return tokens


class Reporter(TrainerCallback):
    """Emits metrics; the speed is measured over training steps only, not over evaluations and checkpoints."""

    def __init__(self, child: Child, counted: Counting) -> None:
        self._child = child
        self._counted = counted
        self._seconds = 0.0
        self._started = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The bar starts where the checkpoint left off."""
        self._child.step = state.global_step
        self._child.events.phase("training", done=state.global_step, total=state.max_steps, unit="steps")
        self._started = time.perf_counter()

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """One more batch of this step."""
        self._counted.used()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop the clock for this step."""
        self._child.step = state.global_step
        self._counted.used()
        self._stop_clock()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Rows looked at for the evaluation are not training speed."""
        self._counted.evaluated()
        self._started = time.perf_counter()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Neither is the writing of a checkpoint."""
        self._started = time.perf_counter()

    def _stop_clock(self) -> None:
        now = time.perf_counter()
        self._seconds += now - self._started
        self._started = now

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """One metric line for each of the trainer's log lines that carries a loss."""
        values = {name: float(value) for name, value in (logs or {}).items() if _is_shown(name, value)}
        if "loss" in values and self._seconds:
            self._stop_clock()  # a GPU works behind the program's back: only the loss, read, shows that it is done
            values["tokens_per_second"] = ranks.total(self._counted.take()) / self._seconds
            self._seconds = 0.0
        refuse_nan(values, state.global_step)
        if values:
            self._child.events.emit(
                Metric(step=state.global_step, values=values, total_steps=state.max_steps, epoch=state.epoch)
            )


def _is_shown(name: str, value: Any) -> bool:
    """Whatever the trainer logs gets a curve, but for its own timekeeping."""
    timed = name.endswith(("_runtime", "_per_second"))
    return isinstance(value, int | float) and not timed and name not in _NOT_SHOWN


def refuse_nan(values: dict[str, float], step: int) -> None:
    """Raises `JobError` when a loss is no finite number."""
    if all(math.isfinite(value) for name, value in values.items() if name.endswith("loss")):
        return
    raise JobError(
        "nan_loss",
        f"The loss became not a number at step {step}: the training has diverged.",
        "Lower the learning rate, for example to a tenth, or raise the warm-up steps, and start again.",
    )


class Orders(TrainerCallback):
    """Obeys control.json between steps, saves by the clock too, and seals every checkpoint the trainer writes.

    `minutes` between checkpoints, 0: by steps alone. `best_loss`: the lowest validation loss at a checkpoint of an
    earlier attempt.
    """

    def __init__(self, child: Child, *, minutes: float = 0.0, best_loss: float | None = None) -> None:
        self._child = child
        self._seconds = minutes * 60
        self._saved_at = time.monotonic()
        self._reason: _Reason = "schedule"
        self._obeyed: int | None = None
        self._evaluated: tuple[int, float] | None = None
        self._best_loss = math.inf if best_loss is None else best_loss
        self._best = ""
        self.stopped: Stopped | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Loading took no time between checkpoints."""
        self._saved_at = time.monotonic()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """A checkpoint at this step is as good as that."""
        loss = (metrics or {}).get("eval_loss")
        if loss is not None and math.isfinite(loss):
            self._evaluated = state.global_step, float(loss)

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Between two batches of one step only a cancel is heard."""
        self._heed_cancel()

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """The same while validation rows are looked at."""
        self._heed_cancel()

    def _heed_cancel(self) -> None:
        if self._child.control.asked() == "cancel":
            raise Stopped("cancel")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop, save and go on, or leave at once. With several processes all do what the first one heard."""
        heard = _HEARD[ranks.first_says(self._listen())]
        if heard in ("pause", "drain"):
            self.stopped = Stopped(heard)
            control.should_training_stop = True
        if heard is not None:
            self._reason = heard
            control.should_save = True
        if state.global_step >= state.max_steps:
            self._reason = "end"
            control.should_save = True

    def _listen(self) -> int:
        """The index in `_HEARD` of what is asked. Raises `Stopped` for a cancel."""
        try:
            self._child.stop_point()
        except Stopped as stop:
            if stop.action == "cancel":
                raise
            return _HEARD.index("pause" if stop.action == "pause" else "drain")
        if self._new_request():
            return _HEARD.index("request")
        due = self._seconds and time.monotonic() - self._saved_at >= self._seconds
        return _HEARD.index("schedule") if due else 0

    def _new_request(self) -> bool:
        """Whether "checkpoint" stands in control.json for the first time since it was last obeyed."""
        if self._child.control.asked() != "checkpoint" or self._child.control.stamp == self._obeyed:
            return False
        self._obeyed = self._child.control.stamp
        return True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The trainer has written all its files: only now does the checkpoint become one."""
        ranks.wait_for_all()  # each process writes a file of its own
        if ranks.rank() == 0:
            self._seal(args, state)
        self._reason = "schedule"
        ranks.wait_for_all()

    def _seal(self, args: TrainingArguments, state: TrainerState) -> None:
        name = f"checkpoint-{state.global_step}"
        folder = self._child.job_dir / CHECKPOINTS_DIR
        size = checkpoints.seal(Path(args.output_dir or "") / name, folder / name)
        loss = self._loss_at(state.global_step)
        told = {"step": state.global_step, "path": f"{CHECKPOINTS_DIR}/{name}", "size": size, "eval_loss": loss}
        self._child.events.emit(Checkpoint.model_validate(told | {"reason": self._reason}))
        if loss is not None and loss < self._best_loss:
            self._best, self._best_loss = name, loss
            self._child.events.log(f"The checkpoint at step {state.global_step} is the best so far: {loss:.4f}.")
        self._saved_at = time.monotonic()
        checkpoints.prune(folder, _NEWEST, self._best)

    def _loss_at(self, step: int) -> float | None:
        return self._evaluated[1] if self._evaluated and self._evaluated[0] == step else None
