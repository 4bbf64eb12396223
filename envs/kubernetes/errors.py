"""What can go wrong with a real cluster, by what has to be done about it.

``InputError`` (podgym.errors) is for what the user can mend before anything starts. The errors here happen
while a run is under way. None of their texts holds a token, a password or a header.
"""


class ClusterError(RuntimeError):
    """Something on the way to the cluster failed."""


class TransientError(ClusterError):
    """It may work next time: timeouts, refused or cut connections, 429, 5xx, answers that are no answers.

    The rule is to hold: nothing changes, least of all downwards.
    """


class MetricsUnavailableError(TransientError):
    """The monitoring system did not give a usable answer."""


class ConflictError(ClusterError):
    """Someone else changed the object since it was read (409)."""


class ForeignChangeError(ClusterError):
    """Someone else scales the target; the run yields."""


class OverruledError(ClusterError):
    """The API server made something else of what was written; the episode ends, and what was found counts."""


class TargetGoneError(ClusterError):
    """The Deployment was deleted (404). It is never made again; the episode ends, truncated."""


class AccessDeniedError(ClusterError):
    """401 after the credentials were read anew, or 403: the run stops; the text names the missing verb."""


class BudgetExceededError(ClusterError):
    """A step asked for more API calls than declared; the step holds."""
