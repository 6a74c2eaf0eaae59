"""Answers and scores before and after, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlmodel import Session, col, select

from app.domain.jobs.config import Question
from app.domain.jobs.models import Answer, Job, Score

SIDES = ("before", "after")
#: name -> side -> value.
Scores = dict[str, dict[str, float]]
#: The score by which a trainer tells how its answers stood a second look. It says nothing of the model.
REREAD = "answers_reread"


@dataclass(frozen=True)
class AnswerPair:
    """One question and both answers, as far as they exist."""

    number: int
    question: Question
    before: Answer | None
    after: Answer | None


def answer_pairs(session: Session, job: Job) -> list[AnswerPair]:
    """Each question of the job's config with its answers."""
    rows = session.exec(select(Answer).where(Answer.job_id == job.id, Answer.sample == 0))
    answers = {(answer.prompt, answer.side): answer for answer in rows}
    questions = [Question.model_validate(question) for question in job.config.get("questions", ())]
    return [AnswerPair(i, q, answers.get((i, "before")), answers.get((i, "after"))) for i, q in enumerate(questions)]


def reread(session: Session, job_id: int) -> dict[str, float]:
    """side -> share of the tokens looked at again that are the model's own choice."""
    found = session.exec(select(Score).where(Score.job_id == job_id, Score.name == REREAD))
    return {score.side: score.value for score in found}


def scores(session: Session, job_id: int) -> dict[str, dict[str, float]]:
    """name -> {"before": value, "after": value}, as far as they exist."""
    out: dict[str, dict[str, float]] = {}
    for score in session.exec(select(Score).where(Score.job_id == job_id, Score.name != REREAD)):
        out.setdefault(score.name, {})[score.side] = score.value
    return out


def scores_of(session: Session, job_ids: Iterable[int]) -> dict[int, dict[str, dict[str, float]]]:
    """job -> its `scores`, for lists; one query for all."""
    out: dict[int, dict[str, dict[str, float]]] = {}
    for score in session.exec(select(Score).where(col(Score.job_id).in_(list(job_ids)), Score.name != REREAD)):
        out.setdefault(score.job_id, {}).setdefault(score.name, {})[score.side] = score.value
    return out


def answers_of(session: Session, job_ids: Iterable[int]) -> dict[int, dict[tuple[int, str], Answer]]:
    """job -> (number of the question, side) -> its answer; one query for all."""
    out: dict[int, dict[tuple[int, str], Answer]] = {}
    for answer in session.exec(select(Answer).where(col(Answer.job_id).in_(list(job_ids)), Answer.sample == 0)):
        out.setdefault(answer.job_id, {})[answer.prompt, answer.side] = answer
    return out
