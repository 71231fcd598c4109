"""An application is told of its start and its end, and a start that fails is said."""

from __future__ import annotations

import pytest

from crossover.transport.http1.lifespan import Lifespan


class App:
    """Answers each question with `answers`, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, scope, receive, send):
        scope["state"]["of"] = "the application"
        for answer in self.answers:
            self.asked.append((await receive())["type"])
            if isinstance(answer, Exception):
                raise answer
            await send({"type": answer})


async def test_it_starts_and_ends():
    """Each is asked once, in order, and what the application keeps in the state is there for requests."""
    app = App("lifespan.startup.complete", "lifespan.shutdown.complete")
    lifespan = Lifespan(app)
    await lifespan.start()
    assert lifespan.state == {"of": "the application"}
    assert app.asked == ["lifespan.startup"]
    await lifespan.stop()
    assert app.asked == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize(
    "answers", [("lifespan.startup.failed",), (OSError("the disk is gone"),), ()], ids=["says so", "raises", "returns"]
)
async def test_a_start_that_fails_is_said(answers):
    """Whichever way the application fails: by its word, by an exception, or by returning; ending it is no error then."""
    lifespan = Lifespan(App(*answers))
    with pytest.raises(RuntimeError, match="did not start"):
        await lifespan.start()
    await lifespan.stop()


async def test_an_end_that_fails_ends_all_the_same(caplog):
    """The service is leaving; the log has the reason."""
    lifespan = Lifespan(App("lifespan.startup.complete", OSError("the disk is gone")))
    await lifespan.start()
    await lifespan.stop()
    assert "the disk is gone" in caplog.text
