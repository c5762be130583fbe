"""What goes on inside a network, as about ten numbers: for losses that say nothing about it.

::

    from losscast import probe

    if step % 500 == 0:
        run.log(probe.features(model.encode(probe_batch)), step=step)

Every function takes numpy arrays or torch tensors, computes where they are, and returns a dictionary of floats that is
ready for `log`. The package itself depends on neither: whichever the job has made its arrays with is used.

Nothing here raises into the loop: what cannot be computed comes back as NaN, and one warning says why. `strict=True`
raises instead. The formulas without that shelter are in the modules named below; they raise `ProbeError`.

==================  ================================================  ====================================
`features`          spectrum of a layer's features on a probe batch   :mod:`losscast.probe.spectrum`
`classes`           neural collapse, NC1 to NC4                       :mod:`losscast.probe.neural_collapse`
`tokens`            the same for next-token prediction                :mod:`losscast.probe.neural_collapse`
`units`             dead units and massive activations                :mod:`losscast.probe.activations`
`samples`           modes and spread of generated samples             :mod:`losscast.probe.generated`
`weights`           norms, way from the start, effective rate         :mod:`losscast.probe.parameters`
`GradientNoise`     noise scale, critical batch size, SNR             :mod:`losscast.probe.gradients`
==================  ================================================  ====================================

A curve of these numbers means something only if they are measured on the same probe batch every time: keep one.
"""

from losscast.probe.arrays import ProbeError
from losscast.probe.gradients import GradientNoise
from losscast.probe.parameters import snapshot
from losscast.probe.sheltered import classes, features, samples, tokens, units, weights

__all__ = ["GradientNoise", "ProbeError", "classes", "features", "samples", "snapshot", "tokens", "units", "weights"]
