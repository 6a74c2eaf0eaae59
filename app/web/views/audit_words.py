"""What an audit found, as sentences: what it is, and what to do about it."""

from __future__ import annotations

from app.domain.datasets.audit import AuditReport, RoleFinding, SecretFinding
from app.web import filters
from app.web.render import translate as _
from app.web.render import translate_many


def warnings_of(report: AuditReport) -> list[str]:
    """Sentences about what a person should know before training on these rows, the gravest first."""
    found = [
        _bad(report),
        *(_secret(each) for each in report.secrets),
        *_leaks(report),
        _nothing_left(report),
        _cut(report),
        _end_of_turn(report),
        _reasoning(report),
        *_copies(report),
        *(_roles(each) for each in report.roles),
        _mixed_languages(report),
        _mixed_system_prompts(report),
    ]
    if report.template_changed:
        found.append(report.template_note or _("The chat template is changed for training."))
    return [sentence for sentence in found if sentence]


def _bad(report: AuditReport) -> str:
    count = sum(report.problem_counts.values())
    if not count:
        return ""
    one, many = "%(n)s row will not be trained on", "%(n)s rows will not be trained on"
    return f"{translate_many(one, many, count)}: {report.problems[0].message}"


def _nothing_left(report: AuditReport) -> str:
    one = "%(n)s row has nothing to learn within %(most)s tokens and is left out. Raise the longest length."
    many = "%(n)s rows have nothing to learn within %(most)s tokens and are left out. Raise the longest length."
    most = filters.number(report.max_seq_length)
    return translate_many(one, many, report.nothing_supervised, most=most) if report.nothing_supervised else ""


def _cut(report: AuditReport) -> str:
    if not report.cut_rows:
        return ""
    one = "%(n)s row is longer than %(most)s tokens and will be cut at its end: %(go)s tokens go."
    many = "%(n)s rows are longer than %(most)s tokens and will be cut at their end: %(go)s tokens go."
    most, go = filters.number(report.max_seq_length), filters.number(report.cut_tokens)
    return translate_many(one, many, report.cut_rows, most=most, go=go)


def _end_of_turn(report: AuditReport) -> str:
    missing = 1 - report.end_of_turn_supervised
    if missing <= 0:
        return ""
    share = filters.percent(missing)
    return _(
        "In %(share)s of the rows the model does not learn where to stop. Give their last answer weight 1.", share=share
    )


def _reasoning(report: AuditReport) -> str:
    if not report.reasoning_rows or report.reasoning_kept:
        return ""
    return _("This model's chat template drops the reasoning: it will not be learned. Choose a reasoning model.")


def _copies(report: AuditReport) -> list[str]:
    out = []
    if report.copies.exact:
        one = (
            "%(n)s row repeats another word for word. It is learned twice as hard; take it out if you don't mean that."
        )
        many = (
            "%(n)s rows repeat others word for word. They are learned the harder; take them out if you don't mean that."
        )
        out.append(translate_many(one, many, report.copies.exact))
    if report.copies.near:
        one = "%(n)s row is nearly the same as another. Look whether it teaches anything new."
        many = "%(n)s rows are nearly the same as others. Look whether they teach anything new."
        out.append(translate_many(one, many, report.copies.near))
    return out


def _leaks(report: AuditReport) -> list[str]:
    out = []
    if report.copies.leaked:
        one = "%(n)s held-out row is trained on as well, so the validation loss flatters."
        many = "%(n)s held-out rows are trained on as well, so the validation loss flatters."
        out.append(translate_many(one, many, report.copies.leaked))
    if report.copies.nearly_leaked:
        one = "%(n)s held-out row is nearly the same as one that is trained on, so the validation loss flatters."
        many = "%(n)s held-out rows are nearly the same as rows that are trained on, so the validation loss flatters."
        out.append(translate_many(one, many, report.copies.nearly_leaked))
    return out


def kind_of_secret(kind: str) -> str:
    """In words, several of them."""
    words = {
        "private_key": _("private keys"),
        "api_key": _("API keys"),
        "card": _("card numbers"),
        "email": _("mail addresses"),
        "phone": _("telephone numbers"),
    }
    return words.get(kind, kind)


def _secret(found: SecretFinding) -> str:
    kind, rows = kind_of_secret(found.kind), translate_many("%(n)s row", "%(n)s rows", found.rows)
    if found.kind in {"private_key", "api_key"}:
        said = _(
            "What looks like %(kind)s stands in %(rows)s. Revoke them, and take them out of the rows.",
            kind=kind,
            rows=rows,
        )
    else:
        said = _("%(kind)s stand in %(rows)s. A model learns them by heart; take out real ones.", kind=kind, rows=rows)
    return said[:1].upper() + said[1:]


def order_words(found: RoleFinding) -> str:
    """What is odd about the order of their turns."""
    words = {
        "system_late": _("have a system message after the beginning; many models never see one there"),
        "starts_with_answer": _("begin with an answer that nobody asked for"),
        "two_questions": _("have two questions in a row; join them"),
        "two_answers": _("have two answers in a row; join them"),
        "ends_with_question": _("end with a question; what comes after the last answer is not learned from"),
    }
    return words.get(found.code, found.code)


def _roles(found: RoleFinding) -> str:
    said = order_words(found)
    return _("Rows that %(what)s: %(n)s, the first is row %(row)s.", what=said, n=found.rows, row=found.first_row)


def _mixed_languages(report: AuditReport) -> str:
    """A share of 2 % and more counts; less is what a guess gets wrong."""
    many = [each for each in report.languages if each.rows >= 0.02 * report.languages_looked_at]
    if len(many) < 2:
        return ""
    shares = ", ".join(f"{each.code} {filters.percent(each.rows / report.languages_looked_at)}" for each in many)
    return _(
        "The rows are in several languages (%(shares)s). Tell the model in the system prompt which one to answer in, "
        "or split the set.",
        shares=shares,
    )


def _mixed_system_prompts(report: AuditReport) -> str:
    found = report.system_prompts
    with_one = report.rows - found.rows_without
    if not found.rows_without or not with_one:
        return ""
    return _(
        "%(a)s a system prompt and %(b)s have none. Ask the tuned model both ways, or give all rows one.",
        a=translate_many("%(n)s row has", "%(n)s rows have", with_one),
        b=filters.number(found.rows_without),
    )
