"""Ollama's files out of chat templates of the usual shapes."""

from __future__ import annotations

import json

import pytest

from worker.export.convert import explain
from worker.export.merge import plain_template
from worker.export.modelfile import Parts, go_template, modelfile, parts_of, stop_words

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}" + CHATML
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim }}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
MARKED = CHATML.replace("{% for m in messages %}", "{% for m in messages %}{%- generation -%}").replace(
    "{% endfor %}", "{%- endgeneration -%}{% endfor %}"
)


def test_chatml_is_taken_apart() -> None:
    assert parts_of(CHATML) == Parts(
        head="<|im_start|>user\n",
        to_answer="<|im_end|>\n<|im_start|>assistant\n",
        before_answer="<|im_end|>\n<|im_start|>assistant\n",
        between="<|im_end|>\n<|im_start|>user\n",
        system=("<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\n"),
    )


def test_a_default_system_text_stays_in_the_head() -> None:
    parts = parts_of(DEFAULT_SYSTEM)
    assert parts is not None
    assert parts.head == "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
    assert "{{ else }}<|im_start|>system\nBe kind." in go_template(parts)


@pytest.mark.parametrize(
    ("template", "eos", "stops"),
    [
        (CHATML, "<|im_end|>", ["<|im_end|>", "<|im_start|>"]),
        (LLAMA_3, "<|eot_id|>", ["<|eot_id|>", "<|end_header_id|>", "<|start_header_id|>"]),
        (GEMMA, "<eos>", ["<eos>", "<end_of_turn>", "<start_of_turn>"]),
        (MISTRAL, "</s>", ["</s>", "[INST]", "[/INST]"]),
    ],
    ids=["chatml", "llama-3", "gemma", "mistral"],
)
def test_stop_words(template: str, eos: str, stops: list[str]) -> None:
    assert stop_words(parts_of(template, "<bos>", eos), eos) == stops


def test_the_first_token_is_left_to_llama_cpp_and_gemma_takes_no_system() -> None:
    parts = parts_of(GEMMA, "<bos>", "<eos>")
    assert parts is not None
    assert parts.head == "<start_of_turn>user\n"
    assert parts.system is None
    assert "$.System" not in go_template(parts)


@pytest.mark.parametrize(
    "template",
    ["{{ messages[0]['content'] }}{{ messages[0]['content'] }}", "{{ raise_exception('no') }}", "{% broken"],
    ids=["twice", "refusing", "broken"],
)
def test_irregular_templates_give_no_go_template(template: str) -> None:
    assert parts_of(template) is None


def test_generation_marks_change_nothing() -> None:
    assert parts_of(MARKED) == parts_of(CHATML)
    assert parts_of(plain_template(MARKED)) == parts_of(CHATML)
    assert "generation %}" not in plain_template(MARKED)


def test_braces_and_quotes_survive() -> None:
    parts = Parts(head="{{x}}", to_answer="", before_answer="", between="")
    assert '{{ "{{" }}x}}' in go_template(parts)
    text = modelfile("a.gguf", ['say "stop"'])
    assert text == 'FROM ./a.gguf\nPARAMETER stop "say \\"stop\\""\n'
    assert json.loads(text.split("stop ", 1)[1]) == 'say "stop"'


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "** chkhsh:  0123456789abcdef0123\nNotImplementedError: BPE pre-tokenizer was not recognized - x",
            "0123456789",
        ),
        ("ERROR:hf-to-gguf:Model FooForCausalLM is not supported", "FooForCausalLM"),
        ("Traceback\n  File x\nValueError: odd number of heads\n", "odd number of heads"),
        ("", "without a word"),
    ],
)
def test_the_converters_own_words_reach_the_person(output: str, words: str) -> None:
    error = explain(output)
    assert error.error_class == "not_supported"
    assert words in error.message
    assert "merged" in error.advice
