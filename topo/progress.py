"""The progress bar of a training: over all chunks of members, whoever trains them.

Knows members, iterations and losses; must not know where or how they are trained.
"""

from collections.abc import Sequence

import numpy as np

from topo.populations import Plan
from topo.types import Whole


class Bar:
    """A progress bar that counts network-iterations, and names members, iteration and loss of the last report.

    wanted: the Plan that is trained; first: the first member of it that is trained; shown: whether to show the bar.
    """

    def __init__(self, wanted: Plan, first: Whole, shown: bool) -> None:
        from tqdm import tqdm

        total, name = (wanted.networks - first) * wanted.iterations, str(wanted.training.architecture)
        self._bar = tqdm(total=total, unit="it", unit_scale=True, disable=not shown, smoothing=0.02, desc=name)
        self._members: dict[int, range] = {}
        self._reached: dict[int, Whole] = {}

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def expect(self, members: range) -> None:
        """Announce a chunk of these members, of which `show` will report."""
        self._members[members[0]] = members

    def show(self, first: int, iteration: Whole, loss: np.ndarray | Sequence[float] | None) -> None:
        """Report that the chunk whose first member is `first` has reached `iteration`.

        The first report of a chunk is progress restored from its checkpoint; it does not count towards the speed.
        loss: of each member, or None.
        """
        members, before = self._members[first], self._reached.get(first)
        self._reached[first] = iteration
        if before is None:
            for count in ("n", "last_print_n", "initial"):
                setattr(self._bar, count, getattr(self._bar, count, 0) + len(members) * iteration)
            return
        if loss is not None and np.isfinite(loss).any():
            mean = np.mean(np.asarray(loss), where=np.isfinite(loss))
            who = f"members {members[0]}-{members[-1]}"
            self._bar.set_postfix_str(f"{who} at {iteration}, loss {mean:.3f}", refresh=False)
        self._bar.update(len(members) * (iteration - before))
