"""The results of the rounds of one workload: the runs that count, and ratios to the limit of the same round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks._candidates import AGAIN, LIMIT
from benchmarks._figures import Ratio, ratio_of, with_sync, without_sync
from benchmarks._workloads import Workload

Run = dict[str, Any]


def ingest(run: Run) -> float:
    return float(run["ingest_s"])


@dataclass(frozen=True)
class Outcome:
    """Rounds whose two limit runs disagree count only if those of all rounds do; then `says_nothing` is True."""

    workload: Workload
    rounds: list[dict[str, Any]]
    seed: int

    @property
    def says_nothing(self) -> bool:
        return all(r["stray"] for r in self.rounds)

    @property
    def dropped(self) -> int:
        return sum(bool(r["stray"]) for r in self.rounds)

    @property
    def counting(self) -> list[dict[str, Any]]:
        return self.rounds if self.says_nothing else [r for r in self.rounds if not r["stray"]]

    def runs(self, candidate: str) -> list[Run]:
        """The runs of a candidate in the rounds that count."""
        found = (r["runs"].get(candidate) for r in self.counting)
        return [run for run in found if run is not None and "failed" not in run]

    def fastest(self, candidate: str) -> float | None:
        """The shortest ingest in seconds of all rounds, including those that do not count."""
        found = [r["runs"].get(candidate, {"failed": ""}) for r in self.rounds]
        return min((ingest(run) for run in found if "failed" not in run), default=None)

    def failure(self, candidate: str) -> str:
        """Why a candidate failed; "" if it did not."""
        return next((r["runs"][candidate].get("failed", "") for r in self.rounds if candidate in r["runs"]), "")

    def ratio(self, candidate: str, seconds: Callable[[Run], float] = ingest) -> Ratio | None:
        """Its time divided by the mean of the two limit runs of the same round. The second limit is divided by the first."""
        return self._ratio(candidate, lambda run, limits: seconds(run) / (sum(map(seconds, limits)) / len(limits)))

    def ratio_without_sync(self, candidate: str) -> Ratio | None:
        """The ratio of the times until the file is complete, without sync."""
        return self.ratio(candidate, without_sync)

    def ratio_with_sync(self, candidate: str) -> Ratio | None:
        """The ratio of the times until the file is durable under its final name."""
        return self.ratio(candidate, with_sync)

    def against(self, candidate: str, other: str, seconds: Callable[[Run], float] = ingest) -> Ratio | None:
        """The time of one candidate divided by the time of another, in the same round."""
        pairs = [
            (r["runs"][candidate], r["runs"][other])
            for r in self.counting
            if candidate in r["runs"] and other in r["runs"]
        ]
        ratios = [seconds(a) / seconds(b) for a, b in pairs if "failed" not in a and "failed" not in b]
        return ratio_of(ratios, self.seed) if ratios else None

    def _ratio(self, candidate: str, of: Callable[[Run, list[Run]], float]) -> Ratio | None:
        ratios = []
        for played in self.counting:
            runs = played["runs"]
            if candidate in runs and "failed" not in runs[candidate]:
                limits = [runs[LIMIT]] if candidate == AGAIN else [runs[LIMIT], runs[AGAIN]]
                ratios.append(of(runs[candidate], limits))
        return ratio_of(ratios, self.seed) if ratios else None
