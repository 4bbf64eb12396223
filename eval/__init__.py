"""Evaluation: run controllers, measure what they did, show it; and conformance with Kubernetes.

To be read in this order: ``episode`` (what is recorded), ``measures`` (with ``mixture`` behind it: every
number and its definition), ``runner`` (running controllers), ``summary``, ``tables`` and ``plots`` (showing
it), ``provisioning`` (what a load needs), ``files`` (writing) and ``conformance`` (Kubernetes' own cases).
"""
