"""The autoscalers that Kubernetes ships, side by side: HPA for the replicas, VPA for the memory."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from podgym.baselines.hpa_controller import HpaController
from podgym.baselines.metrics import MAX_SAMPLE_AGE_S
from podgym.baselines.vpa import Resource
from podgym.baselines.vpa_controller import UpdateMode, VpaController
from podgym.envs.cluster import ClusterObservation, ServiceDecision

_MEMORY: tuple[Resource, ...] = ("memory",)


class KubernetesDefaultController:
    """What Kubernetes offers out of the box, the paper's opponent: HPA on CPU and VPA on memory.

    The two do not meet: the HPA reads CPU requests, which the VPA leaves alone.
    """

    name = "kubernetes_default"

    def __init__(
        self,
        *,
        cpu_target_percent: int = 80,
        tolerance: float = 0.1,
        downscale_stabilization_s: float = 300,
        mode: UpdateMode = "Recreate",
        min_allowed_memory_bytes: float | None = None,
        max_allowed_memory_bytes: float | None = None,
        update_threshold: float = 0.1,
        lifetime_threshold_s: float = 12 * 3600,
        min_replicas: int = 2,
        eviction_tolerance: float = 0.5,
        target_percentile: float = 0.9,
        margin_fraction: float = 0.15,
        confidence_interval_s: float = 24 * 3600,
        max_sample_age_s: float = MAX_SAMPLE_AGE_S,
        checkpoint: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Configure HPA and VPA of every service alike.

        The first three options are those of ``HpaController``, ``max_sample_age_s`` holds for both, and
        the others are those of ``VpaController``.

        Raises:
            InputError: an option that cannot be used.
        """
        self._hpa = HpaController(
            cpu_target_percent=cpu_target_percent,
            tolerance=tolerance,
            downscale_stabilization_s=downscale_stabilization_s,
            max_sample_age_s=max_sample_age_s,
        )
        self._vpa = VpaController(
            mode=mode,
            controlled_resources=_MEMORY,
            min_allowed_memory_bytes=min_allowed_memory_bytes,
            max_allowed_memory_bytes=max_allowed_memory_bytes,
            update_threshold=update_threshold,
            lifetime_threshold_s=lifetime_threshold_s,
            min_replicas=min_replicas,
            eviction_tolerance=eviction_tolerance,
            target_percentile=target_percentile,
            margin_fraction=margin_fraction,
            confidence_interval_s=confidence_interval_s,
            max_sample_age_s=max_sample_age_s,
            checkpoint=checkpoint,
        )

    def reset(self) -> None:
        """Forget everything but the history that the controller was made with."""
        self._hpa.reset()
        self._vpa.reset()

    def checkpoint(self) -> dict[str, dict[str, Any]]:
        """Return the history of the VPA; see ``VpaController.checkpoint``."""
        return self._vpa.checkpoint()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Take the replicas from the HPA, and what happens to pods from the VPA."""
        return tuple(
            replace(vertical, replicas=horizontal.replicas)
            for horizontal, vertical in zip(
                self._hpa.decide(observation), self._vpa.decide(observation), strict=True
            )
        )
