"""How does a visitor survey the pictures of a session?"""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import get_args

import streamlit as st

from vit_inspect.analyses.head_statistics import Statistic
from vit_inspect.surveys.engine_local import local
from vit_inspect.surveys.sources import Entry
from vit_inspect.surveys.survey import survey_of
from vit_inspect_dashboard import address, launched, models, pictures, state, survey, surveyed
from vit_inspect_dashboard.device import on_device
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.survey import Progress
from vit_inspect_dashboard.wording import plain

MOST = 200
"""Pictures of a survey that a visitor makes, at most: others wait for the device meanwhile."""
MADE = "survey_made"


def offer() -> None:
    """A button that surveys what was uploaded, or the samples, and then opens the survey."""
    subject = state.current()
    uploads = [*launched.here().pictures, *pictures.uploads()]
    chosen = (uploads or pictures.samples())[:MOST]
    work = "survey", subject.model_key, *(picture.key for picture in chosen)
    st.divider()
    st.subheader("Survey your own pictures", anchor=False)
    what = "your pictures" if uploads else "the samples"
    if st.session_state.get(MADE) == work and surveyed.OWN in surveyed.listed():
        st.caption(
            plain(
                f"Done with {subject.model_title}: it is '{surveyed.OWN}' in the list above. Other "
                "pictures or another model make a new one in its place."
            )
        )
        return
    if st.session_state.get(survey.RUNNING) == work:
        # In the place of the button, which would else stay below the bar until the work is done.
        st.empty()
    left = f" The first {MOST}, as more are not taken." if len(uploads) > MOST else ""
    more = "" if uploads else " Upload pictures in the sidebar to survey them instead."
    folder = survey.when_asked(
        work,
        lambda on_progress: _made(subject, chosen, on_progress),
        label=f"Survey {what}",
        words=plain(
            f"All heads of {subject.model_title} over {what}, {len(chosen)} of them.{left}{more} "
            "The survey stays in this session: nobody else sees it, and it goes when you leave."
        ),
    )
    if folder is not None:
        surveyed.take(folder)
        st.session_state[MADE] = work
        address.put(survey=surveyed.OWN)
        st.rerun()


def _made(
    subject: state.Subject, chosen: list[Picture], on_progress: Progress
) -> TemporaryDirectory[str]:
    """The folder of a survey; the pictures themselves stay in memory."""
    folder = TemporaryDirectory(prefix="survey-", ignore_cleanup_errors=True)
    by_name = {picture.name: picture for picture in chosen}
    model = models.model(subject)
    survey_of(
        model,
        [Entry(picture.name, picture.key) for picture in chosen],
        folder.name,
        statistics=get_args(Statistic),
        on_progress=lambda done, count: on_progress(done / count, f"{done} of {count} pictures"),
        engine=local(model, read=lambda entry: by_name[entry.name].read(), run=on_device),
    )
    return folder
