"""What cleaning replaced in a series, for people and for files."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """What was replaced in one feature; every count is a number of samples unless it says otherwise."""

    name: str
    """Name of the feature."""
    num_samples: int
    """Samples in all."""
    missing: int
    """Samples that were not measured."""
    gaps: int
    """Runs of missing samples."""
    longest_gap: int
    """Samples in the longest run of missing ones."""
    stuck: int
    """Samples that repeated a value which was no longer updated."""
    resets: int
    """Samples of short drops to (almost) nothing."""
    spikes: int
    """Samples of isolated spikes."""
    outliers: int
    """Samples with |z| above the threshold that were replaced, in all passes."""
    outliers_first_pass: int
    """Those that a single pass would have replaced, after the faults of the monitor."""
    outliers_kept: bool
    """Whether outliers were left in because they are too many for the rule to be right."""

    @property
    def num_replaced(self) -> int:
        """Samples that interpolation filled."""
        return self.missing + self.stuck + self.resets + self.spikes + self.outliers

    @property
    def share_replaced(self) -> float:
        """Samples that interpolation filled, as a share of all."""
        return self.num_replaced / self.num_samples

    def describe(self) -> str:
        """Return one line for people."""
        counted = {
            f"missing in {self.gaps} gap{'s' * (self.gaps != 1)} of at most {self.longest_gap}": self.missing,
            "stuck": self.stuck,
            "in counter resets": self.resets,
            "in spikes": self.spikes,
            f"outlying, {self.outliers_first_pass} of them in the first pass": self.outliers,
        }
        found = ", ".join(f"{count} {kind}" for kind, count in counted.items() if count) or "none"
        kept = "; outliers kept: too many for a z-score to be right" if self.outliers_kept else ""
        return f"{self.name} {self.share_replaced:.2%} of {self.num_samples} samples ({found}{kept})"


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """What ``clean`` replaced in a series."""

    series: str
    """Name of the series."""
    features: tuple[FeatureReport, ...]
    """One per feature, in the order of the series."""

    @property
    def share_replaced(self) -> float:
        """Samples that interpolation filled, as a share of all samples of all features."""
        return math.fsum(feature.share_replaced for feature in self.features) / len(self.features)

    def describe(self) -> str:
        """Return a line for people, and one more for each further feature."""
        lines = "\n  ".join(feature.describe() for feature in self.features)
        return f"replaced in {self.series}: {lines}"
