"""Why λ has its value: a name for files, and a sentence for people."""

from __future__ import annotations

import re
from enum import Enum

_GUARANTEED = "guaranteed: the smallest at which rounding cannot make the factorisation fail"


class Reason(Enum):
    """Why λ has its value. The values are the names that the compiled core keeps and files hold."""

    GIVEN = "given"
    GUARANTEED = "guaranteed"
    GUARANTEED_WITH_JITTER = "guaranteed with jitter"
    EVIDENCE_MAXIMUM = "evidence maximum"
    EVIDENCE_EDGE = "evidence edge"
    EVIDENCE_TOP = "evidence top"
    EVIDENCE_UNRESOLVED = "evidence unresolved"
    EVIDENCE_UNDETERMINED = "evidence undetermined"
    PATH_EVIDENCE = "path evidence"
    PATH_GCV = "path gcv"
    PATH_LEAVE_ONE_OUT = "path leave-one-out"

    @property
    def is_guaranteed(self) -> bool:
        """Whether λ is the guaranteed one, whose jitter is on every diagonal entry of H."""
        return self in (
            Reason.GUARANTEED,
            Reason.GUARANTEED_WITH_JITTER,
            Reason.EVIDENCE_UNRESOLVED,
            Reason.EVIDENCE_UNDETERMINED,
        )

    def text(self, jitter: float = 0.0) -> str:
        """Return the sentence for people, with any jitter on the diagonal of the penalty."""
        return _TEXTS[self] + (f" (jitter {jitter:.3g} on the diagonal of the penalty)" if jitter else "")

    @classmethod
    def of_text(cls, text: str) -> Reason:
        """Return the reason for a sentence; files held sentences before version 0.1.0."""
        for words, reason in _FORMER.items():
            if words in text:
                return reason
        raise ValueError(f"the reason of the regularizer is {text!r}: expected one that rigidities gives")


def jitter_of_text(text: str) -> float:
    """Return the jitter on the diagonal of the penalty that such a sentence ends with, or 0."""
    found = re.search(r"\(jitter (\S+) on the diagonal of the penalty\)$", text)
    return float(found[1]) if found else 0.0


_TEXTS = {
    Reason.GIVEN: "given",
    Reason.GUARANTEED: _GUARANTEED,
    Reason.GUARANTEED_WITH_JITTER: (
        f"{_GUARANTEED}; the penalty is singular, so as much as its largest eigenvalue adds was also added to every "
        "diagonal entry of H"
    ),
    Reason.EVIDENCE_MAXIMUM: "evidence: the maximum of the marginal likelihood",
    Reason.EVIDENCE_EDGE: (
        "evidence: the smallest at which rounding leaves it resolved, where the marginal likelihood is largest"
    ),
    Reason.EVIDENCE_TOP: "evidence: at the upper end of the search, where the model explains nothing of the targets",
    Reason.EVIDENCE_UNRESOLVED: f"{_GUARANTEED}; the evidence is resolved at no regularizer",
    Reason.EVIDENCE_UNDETERMINED: f"{_GUARANTEED}; the data leave an unpenalised feature undetermined",
    Reason.PATH_EVIDENCE: "evidence: the largest of a path",
    Reason.PATH_GCV: "generalised cross-validation: the least of a path",
    Reason.PATH_LEAVE_ONE_OUT: "leave-one-out of structures: the least of a path",
}

_FORMER = {
    "resolved at no regularizer": Reason.EVIDENCE_UNRESOLVED,
    "unpenalised feature undetermined": Reason.EVIDENCE_UNDETERMINED,
    "evidence: the maximum": Reason.EVIDENCE_MAXIMUM,
    "evidence: the least": Reason.EVIDENCE_EDGE,
    "evidence: at the upper end": Reason.EVIDENCE_TOP,
    "evidence: the largest of a path": Reason.PATH_EVIDENCE,
    "generalised cross-validation": Reason.PATH_GCV,
    "leave-one-out": Reason.PATH_LEAVE_ONE_OUT,
    "the penalty is singular": Reason.GUARANTEED_WITH_JITTER,
    "guaranteed": Reason.GUARANTEED,
    "given": Reason.GIVEN,
}
"""Parts of these sentences; the first that fits counts."""
