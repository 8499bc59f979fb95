"""Runs of these tests share one process for their models."""

from tests.support.kept_models import models_of_all_runs

__all__ = ["models_of_all_runs"]
