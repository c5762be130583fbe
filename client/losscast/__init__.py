"""Report a training run to Losscast, without ever getting in its way.

::

    import losscast

    run = losscast.init(project="gpt", total_steps=20_000, schedule={"family": "cosine", "warmup_steps": 500})
    for step in range(1, 20_001):
        ...
        losscast.log({"loss": loss, "lr": rate}, step=step)
    losscast.finish()

Nothing here waits for the network and nothing here raises into the job: see the README beside this package.
"""

from losscast.current import finish, init, log, should_stop
from losscast.run import Run
from losscast.version import __version__

__all__ = ["Run", "__version__", "finish", "init", "log", "should_stop"]
