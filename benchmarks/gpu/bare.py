"""The same fine-tune without Tunedeck: Unsloth's and TRL's own calls on the same tokens, and a stopwatch.

`python -m benchmarks.gpu.bare JOB_DIR`, for the ratio of the trainer's speed to that of a plain script.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from worker.child import Child
from worker.trainer.environment import set_environment
from worker.trainer.protocol import Control, Done, Emitter, Gpu, Metric
from worker.trainer.specs import TrainSpec, read_spec


def main(job_dir: Path) -> None:
    """Load, attach LoRA, train; one metric line a step, and the peaks at the end."""
    spec = read_spec(job_dir, TrainSpec)
    set_environment(0)
    os.environ["UNSLOTH_COMPILE_LOCATION"] = str(job_dir / "unsloth_compiled_cache")
    if spec.config.engine == "unsloth":
        import unsloth  # noqa: F401 - before the others
    import torch
    from transformers import set_seed
    from trl import SFTTrainer

    child = Child(job_dir, Emitter(job_dir, None), Control(job_dir), {})
    tokenizer, rows, length = _rows(spec, child)
    set_seed(spec.config.seed)
    model = (_unsloth if spec.config.engine == "unsloth" else _plain)(spec, length)
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=rows,
        args=_arguments(spec, job_dir, length),
        callbacks=[_stopwatch(child, rows)],
    )
    trainer.train()
    child.events.emit(
        Gpu(
            device="cuda" if torch.cuda.is_available() else "cpu",
            memory_used=0,
            memory_total=0,
            peak_allocated=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
            peak_reserved=torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None,
        )
    )
    child.events.emit(Done())


def _rows(spec: TrainSpec, child: Child) -> tuple[Any, Any, int]:
    from datasets import Dataset

    from worker.trainer.chat import load_chat
    from worker.trainer.data import load_tokens

    chat = load_chat(Path(spec.config.base_model))
    tokens = load_tokens(chat, child, spec.config.max_seq_length, None)
    rows = [{"input_ids": row.input_ids, "labels": row.labels} for row in tokens.train]
    return chat.tokenizer, Dataset.from_list(rows), tokens.max_seq_length


def _unsloth(spec: TrainSpec, length: int) -> Any:
    import torch
    from unsloth import FastLanguageModel

    config = spec.config
    model, _ = FastLanguageModel.from_pretrained(
        config.base_model,
        max_seq_length=length,
        dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
        load_in_4bit=config.load_in == "4bit",
    )
    return FastLanguageModel.get_peft_model(
        model,
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=0,
        bias="none",
        target_modules=list(config.target_modules),
        use_gradient_checkpointing="unsloth",
        random_state=config.seed,
    )


def _plain(spec: TrainSpec, length: int) -> Any:  # noqa: ARG001 - the same arguments as its sister
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = spec.config
    model = AutoModelForCausalLM.from_pretrained(
        config.base_model,
        dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
        device_map={"": 0} if torch.cuda.is_available() else None,
    )
    model.enable_input_require_grads()
    lora = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        target_modules=list(config.target_modules),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def _arguments(spec: TrainSpec, job_dir: Path, length: int) -> Any:
    import torch
    from trl import SFTConfig

    config, cuda = spec.config, torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(job_dir / "bare"),
        max_steps=config.max_steps,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        warmup_steps=config.warmup_steps,
        optim="adamw_8bit" if cuda else "adamw_torch",
        weight_decay=config.weight_decay,
        seed=config.seed,
        max_length=length,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=cuda,
        use_cpu=not cuda,
        **({} if config.engine == "unsloth" else {"gradient_checkpointing": cuda}),
    )


def _stopwatch(child: Child, rows: Any) -> Any:
    from transformers import TrainerCallback

    tokens = sum(len(ids) for ids in rows["input_ids"]) / len(rows)

    class Stopwatch(TrainerCallback):
        mark = time.perf_counter()

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.mark = time.perf_counter()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" not in logs:
                return
            now = time.perf_counter()
            batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
            values = {"loss": float(logs["loss"]), "tokens_per_second": batch * tokens / (now - self.mark)}
            self.mark = now
            child.events.emit(Metric(step=state.global_step, values=values))

    return Stopwatch()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
