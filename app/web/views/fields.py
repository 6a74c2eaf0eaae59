"""The fields of a job: label, one sentence of help, and how a form writes and reads each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.domain.jobs.config import TARGET_MODULES, TrainConfig
from app.web import filters

#: Fields written as a percentage.
PERCENT = {"validation_split"}


@dataclass(frozen=True)
class FieldSpec:
    """One field of `TrainConfig` as the form shows it."""

    name: str
    label: str
    help: str
    #: text | number | select | switch | modules
    kind: str = "number"
    options: tuple[tuple[str, str], ...] = ()
    unit: str = ""


BASIC = (
    FieldSpec("num_train_epochs", "Epochs", "How often the model sees each row. More learn it better, then by heart."),
    FieldSpec(
        "learning_rate",
        "Learning rate",
        "How far each step moves the model. Too high and it forgets; too low and it hardly learns.",
        kind="text",
    ),
    FieldSpec(
        "per_device_train_batch_size",
        "Batch size",
        "Rows looked at together. More is faster on a GPU and needs more memory.",
    ),
)
SPLIT = FieldSpec(
    "validation_split",
    "Kept for validation",
    "Rows the model never trains on, so that the validation loss tells learning from memorising.",
    unit="%",
)
_HELD_OUT_HELP = (
    "A share of the rows, so that no copy is on both sides; what the file itself says; or another data set."
)
#: Chosen among the held-out rows: the rows say it themselves.
BY_FILE = "file"
HELD_OUT = FieldSpec("validation_dataset", "Held-out rows", _HELD_OUT_HELP, kind="dataset")
ADVANCED: tuple[tuple[str, tuple[FieldSpec, ...]], ...] = (
    (
        "Length and pace",
        (
            FieldSpec("max_steps", "Steps at most", "0: as many as the epochs give. Any other number wins."),
            FieldSpec(
                "gradient_accumulation_steps",
                "Accumulation",
                "Batches added up before each step: like a larger batch without its memory, but slower.",
            ),
            FieldSpec(
                "max_seq_length",
                "Longest row, in tokens",
                "Longer rows are cut at their end. Memory grows with it. 0: from the audit, at most 2048.",
            ),
            FieldSpec(
                "warmup_steps", "Warm-up steps", "The learning rate climbs over these first steps. Costs no time."
            ),
            FieldSpec(
                "lr_scheduler_type",
                "Schedule",
                "How the learning rate falls towards the end. Costs neither time nor memory.",
                "select",
                (("linear", "Linear"), ("cosine", "Cosine"), ("constant", "Constant")),
            ),
            FieldSpec(
                "packing",
                "Pack short rows together",
                "Much faster when rows are short, with the same memory; the loss counts per packed batch.",
                "switch",
            ),
        ),
    ),
    (
        "The adapter",
        (
            FieldSpec(
                "lora_r",
                "LoRA rank",
                "Size of the adapter. 8 to 64 is usual. More learns more and needs a little memory.",
            ),
            FieldSpec(
                "lora_alpha", "LoRA alpha", "How strongly the adapter acts; often equal to the rank. Costs nothing."
            ),
            FieldSpec(
                "lora_dropout", "LoRA dropout", "Share of the adapter switched off at random. 0 is fastest.", "text"
            ),
            FieldSpec(
                "target_modules",
                "Parts adapted",
                "Which projections of each layer learn. Fewer save a little time and memory, and learn less.",
                "modules",
                tuple((name, name) for name in TARGET_MODULES),
            ),
        ),
    ),
    (
        "Machine",
        (
            FieldSpec(
                "engine",
                "Engine",
                "Unsloth is about 1.4 times as fast and needs less memory, on a GPU; transformers runs everywhere.",
                "select",
                (("auto", "Choose for me"), ("hf", "transformers"), ("unsloth", "Unsloth")),
            ),
            FieldSpec(
                "load_in",
                "Load the base model in",
                "4-bit needs about a third of the memory, on a GPU only, and is a little slower.",
                "select",
                (("auto", "Choose for me"), ("none", "16-bit"), ("4bit", "4-bit")),
            ),
            FieldSpec(
                "fit_memory",
                "Fit the batch to the card",
                "Takes as many rows at once as the GPU has room for; a step sees as many as you ask. Learns the same.",
                "switch",
            ),
            FieldSpec(
                "precision",
                "Precision",
                "bfloat16 where the GPU has it, float16 on older ones such as the T4; the CPU uses float32.",
                "select",
                (("auto", "Choose for me"), ("bf16", "bfloat16"), ("fp16", "float16")),
            ),
            FieldSpec(
                "gradient_checkpointing",
                "Compute activations twice",
                "Saves much memory and costs up to half of the speed. Off by itself where the GPU has room.",
                "select",
                (("auto", "Choose for me"), ("on", "Yes"), ("off", "No")),
            ),
            FieldSpec(
                "attention",
                "Attention",
                "The kernel of the plain engine; Unsloth brings its own. Learns the same.",
                "select",
                (
                    ("auto", "Choose for me"),
                    ("sdpa", "PyTorch SDPA"),
                    ("flash_attention_2", "FlashAttention 2"),
                    ("eager", "Plain"),
                ),
            ),
            FieldSpec(
                "gpus",
                "GPUs",
                "Train on several GPUs of one worker at once, with the plain engine; a step sees as many rows.",
            ),
            FieldSpec(
                "min_gpu_memory_gb", "GPU memory at least", "Waits for a GPU this large. 0: any.", "text", unit="GB"
            ),
            FieldSpec(
                "worker_label", "Worker with the label", "Waits for a worker with this word. Empty: any.", "text"
            ),
            FieldSpec(
                "optim",
                "Optimiser",
                "8-bit AdamW saves memory on a GPU and learns the same.",
                "select",
                (("auto", "Choose for me"), ("adamw_torch", "AdamW"), ("adamw_8bit", "AdamW, 8-bit")),
            ),
            FieldSpec(
                "weight_decay",
                "Weight decay",
                "Pulls the adapter towards zero, against memorising. Costs nothing.",
                "text",
            ),
            FieldSpec("seed", "Seed", "The same seed gives the same run. Any whole number."),
            FieldSpec("revision", "Revision", "Branch, tag or commit of the base model. Empty: the newest.", "text"),
        ),
    ),
    (
        "Looking and saving",
        (
            FieldSpec(
                "eval_steps",
                "Validate every",
                "Each look at the held-out rows takes time. 0: ten times a run, five steps apart at least.",
                unit="steps",
            ),
            FieldSpec(
                "save_steps",
                "Checkpoint every",
                "What is lost at worst when a worker dies. 0: ten times a run, five steps apart at least.",
                unit="steps",
            ),
            FieldSpec(
                "save_minutes",
                "Checkpoint also every",
                "Whichever comes first. Steps may be slow: this is the time lost at worst. 0: by steps alone.",
                "text",
                unit="minutes",
            ),
            FieldSpec(
                "max_new_tokens",
                "Longest answer",
                "Tokens at most for each question asked. Longer answers take longer.",
                unit="tokens",
            ),
            FieldSpec(
                "temperature", "Temperature", "0: always the likeliest word. Higher: more varied answers.", "text"
            ),
        ),
    ),
)
BY_NAME = {f.name: f for f in (*BASIC, SPLIT, HELD_OUT, *(f for _, group in ADVANCED for f in group))}
BY_NAME["split_by_file"] = FieldSpec("split_by_file", "Split as the file says", "", kind="dataset")
BY_NAME["base_model"] = FieldSpec("base_model", "Base model", "")
ADVANCED_NAMES = frozenset(f.name for _, group in ADVANCED for f in group)


def written(name: str, value: Any) -> str:
    """A value as the form writes it."""
    if name in PERCENT:
        return f"{value * 100:g}"
    if name == "learning_rate":
        return filters.rate(value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def defaults() -> dict[str, Any]:
    """Form values of every field that has a default."""
    out: dict[str, Any] = {}
    for name in BY_NAME:
        field = TrainConfig.model_fields[name]
        value = "" if field.is_required() else field.get_default()
        out[name] = value if isinstance(value, tuple | bool) else written(name, value)
    return out
