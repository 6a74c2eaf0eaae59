"""Signs that a training goes wrong, in words, each with what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from app.domain.metrics.signs import Sign
from app.web.render import translate as _


class Warned(TypedDict):
    """A title, what was seen, and what can be done."""

    title: str
    text: str
    advice: str


def warned(found: Iterable[Sign]) -> list[Warned]:
    """For the page of the job."""
    return [_words(sign) for sign in found]


def _words(sign: Sign) -> Warned:
    step, value = f"{sign.step:,}", sign.value
    match sign.code:
        case "overfitting":
            return {
                "title": _("It learns its rows by heart"),
                "text": _(
                    "The validation loss was lowest at step %(step)s and has risen by %(share)s %% since, "
                    "while the training loss fell.",
                    step=step,
                    share=f"{value * 100:.0f}",
                ),
                "advice": _(
                    "Nothing is lost: the best checkpoint is kept. Next time train for fewer epochs, or with more rows."
                ),
            }
        case "diverging":
            return {
                "title": _("The loss rises"),
                "text": _(
                    "It was lowest around step %(step)s and is %(times)s times as high now.",
                    step=step,
                    times=f"{value:.1f}",
                ),
                "advice": _(
                    "The learning rate is probably too high. Cancel, and start again with a third of it, "
                    "or with more warm-up steps."
                ),
            }
        case "jumpy":
            return {
                "title": _("The gradients have grown"),
                "text": _("They are %(times)s times as large as usual in this run.", times=f"{value:.0f}"),
                "advice": _("If the loss rises too, start again with a lower learning rate or more warm-up steps."),
            }
        case "flat":
            return {
                "title": _("The loss does not fall"),
                "text": _("It stands at %(loss)s, where it began.", loss=f"{value:.3f}"),
                "advice": _(
                    "Look at a row in tokens on the data set's page: is the answer what is learned? "
                    "If so, raise the learning rate or the rank."
                ),
            }
        case "few_rows":
            return {
                "title": _("Few rows, many epochs"),
                "text": _("Each of the %(rows)s rows is seen %(epochs)s times.", rows=step, epochs=f"{value:g}"),
                "advice": _("That is often too much: watch the validation loss, and prefer fewer epochs or more rows."),
            }
