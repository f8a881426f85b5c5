"""The class of our tasks: each needs a slot of the fleet, and is put back while there is none.

Put back means published again before its message is acknowledged. Whatever dies in between, the
task is in the broker at least once; `Task.retry` would drop a message that it cannot publish.
"""

import logging
import time
from typing import Any, NoReturn

from celery import Task
from celery.exceptions import Ignore, Reject

from stabilizer.background import budget, tally
from stabilizer.background.pace import Pace
from stabilizer.celery import YIELDS, is_exempt

logger = logging.getLogger(__name__)

#: Of this process: a worker's child runs one task at a time.
_pace = Pace()
#: Before a message that could not be put back is rejected: it may be delivered again at once.
PAUSE_S = 1.0


class Yielding(Task):
    """A task that runs in a worker only under a slot of the background budget, unless exempt.

    Called directly, or eagerly, it runs at once.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        run: Any = super().__call__
        name = str(self.name)
        if self.request.called_directly or self.request.is_eager or is_exempt(name):
            return run(*args, **kwargs)
        with budget.shared().slot() as refusal:
            if refusal is not None:
                tally.shared().yielded(name, refusal)
                self.put_back()
            tally.shared().ran(name)
            return run(*args, **kwargs)

    def put_back(self) -> NoReturn:
        """Publish the running task for later, then have its message acknowledged.

        Raises `Ignore`, which does that, or `Reject` where the broker could not be told.
        """
        request = self.request
        yields = int(request.get(YIELDS, 0))
        as_it_was: Any = self.signature_from_request
        headers = {**(request.headers or {}), YIELDS: yields + 1}
        again = as_it_was(countdown=_pace.rest_s(yields), headers=headers)
        try:
            again.apply_async()
        except Exception as error:  # the broker's: of whichever kind, the message must not go
            logger.warning("%s could not be put back: %s", self.name, type(error).__name__)
            time.sleep(PAUSE_S)
            reject: Any = Reject
            raise reject(type(error).__name__, requeue=True) from error
        raise Ignore
